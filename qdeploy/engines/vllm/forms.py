"""Forms of weights that a build of vLLM has no kernel for, as data.

Each row was seen: vLLM 0.32 ended with the quoted words while it loaded such a bundle on a CPU, or
at its first request.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.system import info
from qdeploy.targets import CPU

if TYPE_CHECKING:
    from qdeploy.planning.plan import Plan
    from qdeploy.planning.tensor_spec import TensorPlan

FLOATS = "fp16"
"""A precision's word for weights that are not quantized."""
WIDE = frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq"})
"""Instruction sets, as Linux names them, with which vLLM takes its library for AVX-512."""


@dataclass(frozen=True)
class Form:
    """Weights without a kernel.

    Attributes:
        holds: whether a weight of a plan is one.
        reason: what vLLM lacks, and how that was seen.
        here: whether this machine is one where it lacks it.
    """

    target: str
    holds: Callable[[Plan, TensorPlan], bool]
    reason: str
    here: Callable[[], bool] = lambda: True


def _has_float_inputs(plan: Plan, tensor: TensorPlan) -> bool:
    return tensor.role != "linear" or plan.profile.graph.input_activations == "none"


def _is_narrow_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64") and not info.cpu_flags() >= WIDE


FORMS = (
    Form(
        CPU.name,
        lambda plan, t: t.expert and t.precision.dtype != FLOATS,
        "vLLM on a CPU multiplies by experts in floats only (0.32: \"No WNA16 MoE backend supports "
        'the deployment configuration", "No Int8 MoE backend ...")',
    ),
    Form(
        CPU.name,
        lambda plan, t: t.precision.dtype == "int8" and _has_float_inputs(plan, t),
        "vLLM on a CPU has no kernel for eight-bit codes with inputs in floats (0.32: \"Quant type "
        '(uint8b128) not supported by CPUWNA16")',
    ),
    Form(
        CPU.name,
        lambda plan, t: t.precision.dtype == "fp8" and _has_float_inputs(plan, t),
        "vLLM on a CPU has no kernel for FP8 with inputs in floats (0.32)",
    ),
    Form(
        CPU.name,
        lambda plan, t: t.precision.dtype == "int4",
        "vLLM multiplies by four-bit codes on CPUs with AVX-512 only, and this one has not all of "
        "it (0.32: \"'_C' object has no attribute 'cpu_gemm_wna16'\")",
        _is_narrow_x86,
    ),
)  # fmt: skip


def why_not(plan: Plan) -> str | None:
    """Why vLLM has no kernel for a weight as it is planned, or None if it has."""
    for form in FORMS:
        if form.target != plan.target.name or not form.here():
            continue
        if one := next((t for t in plan.tensors if form.holds(plan, t)), None):
            return f"{one.name} is {one.label}, and {form.reason}"
    return None
