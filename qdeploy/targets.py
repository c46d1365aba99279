"""The targets: what a user deploys to. A table, and nothing else.

A backend of a third party may declare targets of its own by listing `Target` values that are
not in this table; the registry offers the union.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Evidence(str, Enum):
    """How we know that something works on a target. Part of every result."""

    DEVICE = "device"
    """It ran on that hardware."""
    SIMULATED = "simulated"
    """It ran on a stand-in, whose name is given."""
    CONTRACT = "contract"
    """The calls to the vendor's library were checked against a stub."""
    NONE = "none"
    """Nothing was run."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Target:
    """What a user deploys to.

    Attributes:
        name: the word on the command line.
        title: the hardware in a person's words.
        kind: `cpu`, `gpu` or `npu`.
    """

    name: str
    title: str
    kind: str


CPU = Target("cpu", "any CPU", "cpu")
INTEL_CPU = Target("intel-cpu", "x86 CPU through OpenVINO", "cpu")
INTEL_GPU = Target("intel-gpu", "Intel integrated and Arc GPU", "gpu")
INTEL_NPU = Target("intel-npu", "Intel Core Ultra NPU", "npu")
CUDA = Target("cuda", "NVIDIA GPU", "gpu")
ROCM = Target("rocm", "AMD GPU (ROCm)", "gpu")
DCU = Target("dcu", "Hygon DCU (DTK)", "gpu")
ASCEND = Target("ascend", "Huawei Ascend NPU (CANN)", "npu")
WEBGPU = Target("webgpu", "any GPU through WebGPU", "gpu")

BUILT_IN: tuple[Target, ...] = (
    CPU, INTEL_CPU, INTEL_GPU, INTEL_NPU, CUDA, ROCM, DCU, ASCEND, WEBGPU,
)  # fmt: skip
