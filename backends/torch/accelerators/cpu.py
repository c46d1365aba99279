"""Any CPU, x86 or ARM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qdeploy.backends.torch.accelerators.base import FEW_ROWS, Accelerator
from qdeploy.backends.torch.cpu_operations import CpuOperations
from qdeploy.backends.torch.kernels.base import ExpertKernel, Form, Kernel
from qdeploy.backends.torch.kernels.cpu.int4 import int4
from qdeploy.backends.torch.kernels.cpu.int8 import INT8_INPUTS, int8
from qdeploy.backends.torch.kernels.cpu.switching import Switch
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


class Cpu(Accelerator):
    target = CPU.name
    platform = Platform(
        CPU, "cpu", "the CPU", None, lambda build: True, INSTALL,
        systems=("linux", "win32", "darwin"),
    )  # fmt: skip
    dtypes = ("bfloat16", "float32")
    properties: ClassVar[Mapping[str, type]] = {**Accelerator.properties, FEW_ROWS: int}

    def __init__(self, device_type: str = CPU.name, *architectures: str) -> None:
        super().__init__(device_type, *architectures)
        self._switches = (Switch(), Switch())
        four, eight = self._switches
        self._kernels = (FLOAT, int4(four), int8(eight), INT8_INPUTS, DEQUANTIZED)

    @classmethod
    def is_fast_here(cls) -> bool:
        return info.cpu_flags() >= FAST

    def linear_kernels(self) -> tuple[Kernel, ...]:
        return self._kernels

    def expert_kernels(self) -> tuple[ExpertKernel, ...]:
        return (host_experts(self._pack_of),)

    def operations(self) -> CpuOperations:
        return CpuOperations()

    def tune(self, few_rows: int | None) -> tuple[str, ...]:
        four, eight = (switch.settle(few_rows) for switch in self._switches)
        named = zip(self._kernels[1:], (four, eight), strict=False)
        return tuple(f"{kernel.name} {said}" for kernel, said in named if said)

    def memory(self, device: Any) -> None:
        return None

    def peak_memory_bytes(self, device: Any) -> None:
        return None

    def _pack_of(self, form: Form) -> Any:
        return linear_kernel(self._kernels, form, where=self.device_type).pack
