"""Forms of weights that a build of vLLM has no kernel for, as data.

Each row was seen, but for those that name a file of vLLM's source: vLLM 0.32 ended with the quoted
words while it loaded such a bundle on a CPU, or at its first request.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdeploy.errors import BundleError
from qdeploy.storage.json_file import read_json
from qdeploy.system import info
from qdeploy.targets import CPU, Target

if TYPE_CHECKING:
    from qdeploy.bundle import Bundle
    from qdeploy.planning.plan import Plan

FLOATS = "fp16"
"""A precision's word for weights that are not quantized."""
WIDE = frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq"})
"""Instruction sets, as Linux names them, with which vLLM takes its library for AVX-512."""


@dataclass(frozen=True)
class Weight:
    """What decides whether vLLM has a kernel for a weight.

    Attributes:
        label: the weight and its precision, for people.
        dtype: `fp16`, `int4`, `int8` or `fp8`.
        expert: it is an expert's.
        float_inputs: what it is multiplied by is not rounded.
        static_inputs: that is rounded by one scale, and not token by token.
    """

    label: str
    dtype: str
    expert: bool
    float_inputs: bool
    static_inputs: bool = False


@dataclass(frozen=True)
class Form:
    """Weights without a kernel.

    Attributes:
        target: None for all.
        holds: whether a weight is one.
        reason: what vLLM lacks, and how that was seen.
        here: whether this machine is one where it lacks it.
    """

    target: str | None
    holds: Callable[[Weight], bool]
    reason: str
    here: Callable[[], bool] = lambda: True


def _is_narrow_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64") and not info.cpu_flags() >= WIDE


FORMS = (
    Form(
        CPU.name,
        lambda weight: weight.expert and weight.dtype != FLOATS,
        "vLLM on a CPU multiplies by experts in floats only (0.32: \"No WNA16 MoE backend supports "
        'the deployment configuration", "No Int8 MoE backend ...")',
    ),
    Form(
        None,
        lambda weight: weight.expert and weight.static_inputs,
        "vLLM multiplies by experts in int8 with inputs rounded token by token only "
        '(compressed_tensors_moe_w8a8_int8.py: "Found static input scales")',
    ),
    Form(
        CPU.name,
        lambda weight: weight.dtype == "int8" and weight.float_inputs,
        "vLLM on a CPU has no kernel for eight-bit codes with inputs in floats (0.32: \"Quant type "
        '(uint8b128) not supported by CPUWNA16")',
    ),
    Form(
        CPU.name,
        lambda weight: weight.dtype == "fp8" and weight.float_inputs,
        "vLLM on a CPU has no kernel for FP8 with inputs in floats (0.32)",
    ),
    Form(
        CPU.name,
        lambda weight: weight.dtype == "int4",
        "vLLM multiplies by four-bit codes on CPUs with AVX-512 only, and this one has not all of "
        "it (0.32: \"'_C' object has no attribute 'cpu_gemm_wna16'\")",
        _is_narrow_x86,
    ),
)  # fmt: skip


def why_not(plan: Plan) -> str | None:
    """Why vLLM has no kernel for a weight as it is planned, or None if it has."""
    inputs = plan.profile.graph.input_activations
    weights = [
        Weight(
            f"{t.name} is {t.label}",
            t.precision.dtype,
            t.expert,
            float_inputs=inputs == "none" or t.role != "linear",
            static_inputs=inputs == "int8-static" and t.role == "linear",
        )
        for t in plan.tensors
    ]
    return _first_without(weights, plan.target)


def why_not_bundle(bundle: Bundle, target: Target) -> str | None:
    """Why vLLM has no kernel for weights of a bundle, by its config.json, or None if it has."""
    config = read_json(bundle.path / "config.json", error=BundleError)
    groups = config.get("quantization_config", {}).get("config_groups", {}).values()
    has_experts = bundle.manifest.model.experts > 0
    return _first_without([_of_group(group, has_experts) for group in groups], target)


def _of_group(group: dict[str, Any], has_experts: bool) -> Weight:
    """The weights that a group of compressed-tensors' `quantization_config` describes."""
    weights, modules = group["weights"], group["targets"]
    inputs = group.get("input_activations")
    bits = weights["num_bits"]
    return Weight(
        f"{modules[0]} has weights of {bits} bits",
        f"fp{bits}" if weights["type"] == "float" else f"int{bits}",
        has_experts and any(name == "Linear" or "expert" in name for name in modules),
        float_inputs=inputs is None,
        static_inputs=inputs is not None and inputs.get("dynamic") is False,
    )


def _first_without(weights: Sequence[Weight], target: Target) -> str | None:
    for form in FORMS:
        if form.target not in (None, target.name) or not form.here():
            continue
        if one := next(filter(form.holds, weights), None):
            return f"{one.label}, and {form.reason}"
    return None
