"""The table of accelerators: a new torch-style device is a file, and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.accelerators.cpu import Cpu
from qdeploy.interface import Device
from qdeploy.targets import CPU, Target

ACCELERATORS: Mapping[Target, type[Accelerator]] = {CPU: Cpu}


def accelerator_for(device: Device) -> Accelerator:
    """The accelerator of a device that the backend found."""
    return next(kind for t, kind in ACCELERATORS.items() if t.name == device.target)()
