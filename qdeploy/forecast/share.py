"""The part of a CPU's bandwidth and float32 rate that runs were measured to reach.

A runtime computes prefill in the narrowest type that the CPU has fast instructions for, so the
share of the float32 rate depends on the instruction set.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

Arithmetic = Literal["matrix", "dot-product", "float32"]
"""The narrow types that a CPU multiplies fast: AMX multiplies whole tiles of bfloat16 and int8;
dot-product instructions (VNNI, bfloat16) multiply vectors of them; others have float32 alone."""
MATRIX = frozenset({"amx_int8", "amx_bf16", "sme"})
DOT_PRODUCT = frozenset({
    "avx512_vnni", "avx_vnni", "avx512_bf16",  # x86, as /proc/cpuinfo names them
    "asimddp", "i8mm", "bf16",  # ARM
})  # fmt: skip


@dataclass(frozen=True)
class Share:
    """The part of a device's numbers that runs were measured to reach.

    Attributes:
        memory: of the bandwidth, in decode.
        compute: of the rate of operations, in prefill; above 1 where a runtime computes in a
            narrower type than the rate is measured in.
        source: where it was measured.
    """

    memory: float
    compute: float
    source: str


ROOF = Share(1.0, 1.0, "the device's full bandwidth and rate: no run was measured")
MEASURED: dict[tuple[str, Arithmetic], Share] = {
    ("openvino", "matrix"): Share(
        memory=0.40,
        compute=3.2,
        source="openvino on 2 shared Xeon cores with AMX; see docs/planning.md",
    ),
    ("openvino", "dot-product"): Share(
        memory=0.65,
        compute=1.4,
        source="openvino on 2 Xeon cores without AMX; see docs/planning.md",
    ),
    ("openvino", "float32"): Share(
        memory=0.40,
        compute=1.0,
        source="openvino on 2 shared Zen 3 cores (AVX2 alone); see docs/planning.md",
    ),
    ("onnxruntime", "dot-product"): Share(
        memory=0.75,
        compute=0.96,
        source="onnxruntime on 2 Xeon cores without AMX; see docs/planning.md",
    ),
}
"""By backend and the CPU's arithmetic. Other pairs were not measured."""


def arithmetic_of(flags: Set[str]) -> Arithmetic:
    """The fastest arithmetic that a CPU with these instruction sets has."""
    if flags & MATRIX:
        return "matrix"
    return "dot-product" if flags & DOT_PRODUCT else "float32"


def share_of(backend: str, arithmetic: Arithmetic | None) -> Share:
    """The measured share, or all of the hardware's numbers where none was measured.

    Args:
        backend: name of what runs the model; empty for nothing.
        arithmetic: the CPU's; None for other devices, where nothing was measured.
    """
    return MEASURED.get((backend, arithmetic), ROOF) if arithmetic else ROOF
