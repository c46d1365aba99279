"""Energy of Intel's integrated GPUs: they share the processor package's counter."""

from __future__ import annotations

from qdeploy.interface import Device
from qdeploy.system import energy
from qdeploy.system.energy import Meter, NoMeter
from qdeploy.targets import Target

INTEGRATED = "(iGPU)"
"""What OpenVINO adds to the name of a GPU that is part of the processor; to others, `(dGPU)`."""


def integrated_gpu(target: Target, device: Device) -> Meter:
    """RAPL, for a GPU that is known to be integrated."""
    if INTEGRATED not in device.name:
        raise NoMeter("RAPL does not count a GPU that is not known to be integrated")
    return energy.rapl()
