"""Energy of NVIDIA's GPUs, by the counter that NVML reads (Volta and later)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from qdeploy.errors import TargetUnavailable
from qdeploy.system import masks
from qdeploy.system.energy import Counters, Meter, NoMeter


def nvml(device: str, variables: Sequence[str]) -> Meter:
    """The counter, in millijoules, of the GPU that CUDA runs a device on.

    Args:
        device: its id, which ends in CUDA's number, as in `cuda:1`. Without one it is the first.
        variables: the environment variables that hide and renumber CUDA's devices.

    Raises:
        NoMeter: NVML is not installed, or which GPU it is cannot be known.
    """
    library = _library()
    library.nvmlInit()
    handle = _handle(library, variables, _number(device))
    read = library.nvmlDeviceGetTotalEnergyConsumption
    return Counters("NVML, the GPU", lambda: [(read(handle) / 1e3, None)])


def _handle(library: Any, variables: Sequence[str], number: int) -> Any:
    """NVML's handle of the GPU that has this number for CUDA."""
    listed = next(iter(masks.entries(variables).values()), None)
    if listed is not None and number >= len(listed):
        raise NoMeter(f"{variables[0]}={','.join(listed)} has no device {number}")
    entry = str(number) if listed is None else listed[number]
    if entry.startswith("MIG-"):
        raise NoMeter(f"the device is chosen as {entry!r}, a part of a GPU")
    every = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
    if entry.isdecimal() and len(every) > 1 and os.environ.get(ORDER) != BY_BUS:
        # CUDA's own order is "fastest first, the rest unspecified"; NVML's is that of the bus
        raise NoMeter(f"which GPU it was is not known; set {ORDER}={BY_BUS}")
    ids = {_text(library.nvmlDeviceGetUUID(handle)): handle for handle in every}
    try:
        return masks.visible(ids, variables, "nvidia-smi -L")[number]
    except (TargetUnavailable, IndexError):
        raise NoMeter(f"the device is chosen as {entry!r}, and NVML lists no such GPU") from None


ORDER, BY_BUS = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"


def _number(device: str) -> int:
    return int(found[0]) if (found := re.search(r"\d+$", device)) else 0


def _text(uuid: str | bytes) -> str:
    return uuid.decode() if isinstance(uuid, bytes) else uuid  # bytes before 11.515


def _library() -> Any:
    try:
        return import_module("pynvml")
    except ImportError:
        raise NoMeter("nvidia-ml-py is not installed") from None
