"""Any CPU, x86 or ARM."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.kernels import cpu
from qdeploy.backends.torch.kernels.base import ExpertKernel, Form, Kernel
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.experts import host_experts
from qdeploy.backends.torch.kernels.table import linear_kernel
from qdeploy.targets import CPU

KERNELS = (FLOAT, cpu.INT4, DEQUANTIZED)


class Cpu(Accelerator):
    target = CPU.name
    device_type = "cpu"
    dtypes = ("bfloat16", "float32")

    def linear_kernels(self) -> tuple[Kernel, ...]:
        return KERNELS

    def expert_kernels(self) -> tuple[ExpertKernel, ...]:
        return (host_experts(_pack_of),)

    def memory(self, device: Any) -> None:
        return None

    def peak_memory_bytes(self, device: Any) -> None:
        return None


def _pack_of(form: Form) -> Any:
    return linear_kernel(KERNELS, form, where="cpu").pack
