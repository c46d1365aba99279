"""Any CPU, x86 or ARM."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.kernels import cpu
from qdeploy.backends.torch.kernels.base import ExpertKernel, Form, Kernel
from qdeploy.backends.torch.kernels.dequantized import DEQUANTIZED, FLOAT
from qdeploy.backends.torch.kernels.experts import host_experts
from qdeploy.backends.torch.kernels.table import linear_kernel
from qdeploy.backends.torch.platforms import Platform
from qdeploy.backends.torch.runtime import INSTALL
from qdeploy.system import info
from qdeploy.targets import CPU

FAST = frozenset({"avx512vl", "avx512bw", "avx512dq", "fma"})
"""Instruction sets, as Linux names them, with which torch takes its AVX-512 kernels
(`DispatchStub.cpp`). On a CPU with AVX2 alone its int4 kernel decoded 7.5 tok/s of Qwen3-0.6B where
ONNX Runtime decoded 21; ARM was not measured."""
KERNELS = (FLOAT, cpu.INT4, DEQUANTIZED)


class Cpu(Accelerator):
    target = CPU.name
    platform = Platform(
        CPU, "cpu", "the CPU", None, lambda build: True, INSTALL,
        systems=("linux", "win32", "darwin"),
    )  # fmt: skip
    dtypes = ("bfloat16", "float32")

    @classmethod
    def is_fast_here(cls) -> bool:
        return info.cpu_flags() >= FAST

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
