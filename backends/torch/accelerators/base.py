"""`Accelerator`: everything that differs by kind of hardware, one file each.

An accelerator is a torch device type with the kernels that run on it. The engine is the same for
all of them; it asks for operations, kernels and memory here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from qdeploy.backends.torch.kernels.base import ExpertKernel, Kernel
from qdeploy.backends.torch.operations import Operations
from qdeploy.backends.torch.platforms import Platform
from qdeploy.planning.device_memory import PREFILL_CHUNK

if TYPE_CHECKING:
    Tensor = Any

FEW_ROWS = "few_rows"
"""Property of a CPU: most rows of inputs that torch's operators for integer weights multiply; more
are multiplied by the dequantized weight. Measured at load if it is not set."""


class Accelerator(ABC):
    """One kind of hardware that torch runs on.

    Args:
        device_type: torch's word for it, before the colon of `cuda:0`; a simulated device has
            another one than the hardware that it stands for.
        architectures: the vendor's names of the chips' generations, as `Device.architecture`, of
            all devices of a session; no kernel is refused for those that are unknown.

    Attributes:
        target: name of the target that it serves.
        platform: how its devices are found; None where a third party's backend finds them itself.
        dtypes: types of activations that it computes in, the preferred one first.
        properties: of a profile or a user that it has a use for, with their types.
    """

    target: ClassVar[str]
    platform: ClassVar[Platform | None] = None
    dtypes: tuple[str, ...] = ("bfloat16", "float16")
    properties: ClassVar[Mapping[str, type]] = {PREFILL_CHUNK: int}

    def __init__(self, device_type: str, *architectures: str) -> None:
        self.device_type = device_type
        self.architectures = tuple(sorted(filter(None, set(architectures))))

    @classmethod
    def is_fast_here(cls) -> bool:
        """Whether the target's default may be torch on this machine. Imports and probes nothing."""
        return True

    def prepare(self) -> None:  # noqa: B027 - most devices are part of torch
        """Import what registers the device with torch; called once before a session.

        Raises:
            TargetUnavailable: it is absent.
        """

    @abstractmethod
    def linear_kernels(self) -> tuple[Kernel, ...]:
        """The kernels of linear layers, the preferred one first."""

    @abstractmethod
    def expert_kernels(self) -> tuple[ExpertKernel, ...]:
        """The kernels of experts, the preferred one first."""

    def operations(self) -> Operations:
        """Norms, rotation, activation and attention; torch's own unless the vendor has better."""
        return Operations()

    def tune(self, few_rows: int | None) -> tuple[str, ...]:
        """Choose what only a measurement on the device can tell, once all weights are loaded.

        Args:
            few_rows: the property of that name, or None.

        Returns:
            What was chosen, for the proof of placement.
        """
        return ()

    def memory(self, device: Any) -> tuple[int, int] | None:
        """Free and total bytes of a device; None where it is the host's.

        What torch keeps of sessions that were closed is given back first.
        """
        import torch

        module = torch.get_device_module(self.device_type)
        module.empty_cache()
        free, total = module.mem_get_info(device)
        return int(free), int(total)

    def peak_memory_bytes(self, device: Any) -> int | None:
        """Most bytes that tensors took on a device; None where it is the host's."""
        import torch

        return int(torch.get_device_module(self.device_type).max_memory_allocated(device))
