"""Accelerators whose kernels are rows, some of them for certain architectures only.

A limit names the architectures that an operator's source or its vendor's documentation names. On a
device of an unknown architecture none applies, and the self-test decides. Devices that share a
model are all given the kernels that each of them has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.kernels.base import ExpertKernel, Kernel


@dataclass(frozen=True)
class Limit:
    """Which architectures have a kernel.

    Attributes:
        kernel: the kernel without the limit.
        has: whether an architecture has it.
        needs: what is needed, for the message to others.
    """

    kernel: Kernel | ExpertKernel
    has: Callable[[str], bool]
    needs: str

    def applied(self, architectures: Sequence[str]) -> Any:
        """The kernel on some devices, where it may refuse all forms that it takes on others."""
        kernel: Any = self.kernel
        lacking = [name for name in architectures if not self.has(name)]
        if not lacking:
            return kernel
        reason = f"it needs {self.needs}, and this device is {lacking[0]}"
        return replace(kernel, why_not=lambda *forms: kernel.why_not(*forms) or reason)


class Limited(Accelerator):
    """An accelerator whose kernels are rows.

    Attributes:
        kernels: those of linear layers, the preferred one first.
        experts: those of experts.
    """

    kernels: ClassVar[tuple[Kernel | Limit, ...]]
    experts: ClassVar[tuple[ExpertKernel | Limit, ...]]

    def linear_kernels(self) -> tuple[Kernel, ...]:
        return self._limited(self.kernels)

    def expert_kernels(self) -> tuple[ExpertKernel, ...]:
        return self._limited(self.experts)

    def _limited(self, rows: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            row.applied(self.architectures) if isinstance(row, Limit) else row for row in rows
        )
