"""What a target cannot run, told at plan time with the reason.

Each limit is a row: the target, a test of the resolved precision of the linear weights, and the
reason with where it is documented. A backend's own `why_not` covers what depends on its version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qdeploy.planning.formats import ONNX, ONNX_STATIC
from qdeploy.planning.profile import PER_CHANNEL, Precision, Profile

NF4_PLATFORMS = ("4000", "5010")
"""NPU platforms that decode NF4: Lunar Lake and Panther Lake. 3720 is Meteor and Arrow Lake."""


@dataclass(frozen=True)
class Limit:
    target: str
    broken: Callable[[Precision, Profile], bool]
    reason: str
    fix: str


def _nf4_too_old(linear: Precision, profile: Profile) -> bool:
    platform = str(profile.runtime.properties.get("NPU_PLATFORM", ""))
    return linear.dtype == "nf4" and platform not in NF4_PLATFORMS


LIMITS: tuple[Limit, ...] = (
    Limit(
        "intel-npu",
        lambda linear, _: linear.dtype == "int8",
        "the NPU compiler crashes on or refuses int8 layers (openvino issues 34450, 35641)",
        "use int4, symmetric, e.g. the profile intel-npu-int4",
    ),
    Limit(
        "intel-npu",
        lambda linear, _: linear.dtype == "int4" and not linear.symmetric,
        "the NPU runs symmetric int4 only (OpenVINO GenAI guide for NPU)",
        "set weights.linear.symmetric = true",
    ),
    Limit(
        "intel-npu",
        _nf4_too_old,
        "NF4 needs the NPU of Lunar Lake or later (NPU_PLATFORM 4000 or 5010)",
        "set runtime.properties.NPU_PLATFORM to the device's, or use int4",
    ),
    Limit(
        "intel-npu",
        lambda linear, _: linear.dtype == "nf4" and linear.group_size != PER_CHANNEL,
        "the NPU takes NF4 with one scale a row only",
        "set weights.linear.group_size = -1",
    ),
    *(
        Limit(
            target,
            lambda _, profile: profile.format == ONNX.name and profile.graph.attention != "plain",
            "ONNX Runtime's OpenVINO provider leaves GroupQueryAttention to the CPU provider "
            "(1.8.1, its own record of node assignments)",
            'set graph.attention = "plain"',
        )
        for target in ("intel-cpu", "intel-gpu", "intel-npu")
    ),
    Limit(
        "ascend",
        lambda _, profile: profile.format == ONNX.name,
        "CANN takes ONNX's own operators only, none of ONNX Runtime's (cann_graph.cc)",
        'set format = "onnx-static"',
    ),
    Limit(
        "ascend",
        lambda linear, profile: profile.format == ONNX_STATIC.name and linear.bits == 4,
        "CANN has no operator for four-bit weights through ONNX Runtime (cann_graph.cc)",
        "use int8 or fp16, e.g. the profile ascend-int8",
    ),
    Limit(
        "rocm",
        lambda _, profile: profile.format == ONNX.name,
        "MIGraphX compiles anew for every shape, and its GroupQueryAttention does not go on from "
        "a cache (parse_group_query_attention.cpp)",
        'set format = "onnx-static"',
    ),
    Limit(
        "rocm",
        lambda linear, profile: (
            profile.format == ONNX_STATIC.name and linear.bits == 4 and not linear.symmetric
        ),
        "MIGraphX reads MatMulNBits' zero points in another shape than the operator has "
        "(parse_matmulnbits.cpp)",
        "set weights.linear.symmetric = true",
    ),
)


def broken_by(profile: Profile, target: str, linear: Precision) -> Limit | None:
    """The first limit of *target* that linear weights stored as *linear* break, or None."""
    return next((x for x in LIMITS if x.target == target and x.broken(linear, profile)), None)
