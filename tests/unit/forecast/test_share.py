"""Which share of a CPU's numbers a forecast takes, by its instruction set."""

from __future__ import annotations

import pytest

from qdeploy.forecast.share import MEASURED, ROOF, Arithmetic, arithmetic_of, share_of

BASE = "fpu sse4_2 avx avx2 fma"


@pytest.mark.parametrize(
    ("flags", "arithmetic"),
    [
        (f"{BASE}", "float32"),  # Zen 3
        (f"{BASE} avx512f avx512bw", "float32"),  # Skylake-X
        (f"{BASE} avx_vnni", "dot-product"),  # Alder Lake
        (f"{BASE} avx512f avx512_vnni avx512_bf16", "dot-product"),  # Zen 4
        (f"{BASE} avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8", "matrix"),
        ("fp asimd aes crc32", "float32"),  # Cortex-A72
        ("fp asimd asimddp i8mm bf16", "dot-product"),  # Neoverse V1
        ("", "float32"),
    ],
)
def test_the_arithmetic_follows_from_the_instruction_set(
    flags: str, arithmetic: Arithmetic
) -> None:
    assert arithmetic_of(frozenset(flags.split())) == arithmetic


def test_a_device_that_is_no_cpu_and_an_unmeasured_backend_have_the_roof() -> None:
    assert share_of("openvino", None) is ROOF
    assert share_of("", "matrix") is ROOF
    assert share_of("openvino", "matrix") is MEASURED["openvino", "matrix"]


def test_narrower_arithmetic_is_forecast_to_be_no_slower() -> None:
    kinds: tuple[Arithmetic, ...] = ("float32", "dot-product", "matrix")
    by_kind = [share_of("openvino", kind).compute for kind in kinds]
    assert by_kind == sorted(by_kind)
