"""The table of accelerators: a new torch-style device is a file, and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.accelerators.cpu import Cpu
from qdeploy.backends.torch.accelerators.cuda import Cuda
from qdeploy.backends.torch.accelerators.dcu import Dcu
from qdeploy.backends.torch.accelerators.rocm import Rocm
from qdeploy.interface import Device
from qdeploy.targets import CPU, CUDA, DCU, ROCM, Target

ACCELERATORS: Mapping[Target, type[Accelerator]] = {CPU: Cpu, CUDA: Cuda, ROCM: Rocm, DCU: Dcu}


def accelerator_for(device: Device) -> Accelerator:
    """The accelerator of a device that the backend found."""
    kind = next(kind for target, kind in ACCELERATORS.items() if target.name == device.target)
    return kind(device.id.partition(":")[0], device.architecture or "")
