"""Finds the devices of a target on this machine, or explains why there is none."""

from __future__ import annotations

from qdeploy.backends.torch import runtime
from qdeploy.interface import Device
from qdeploy.system import info
from qdeploy.targets import Target


def find(target: Target) -> list[Device]:
    """Return the devices of *target*, at least one.

    Raises:
        TargetUnavailable: torch, its driver or the hardware is missing.
    """
    runtime.require()
    return [Device("cpu", info.cpu_name(), target.name, info.memory_bytes())]
