"""Meters of energy, by the library or the files of each vendor.

The machine this was written on has none of them: files and calls are checked against made-up ones.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS = 0.1


class NoMeter(Exception):
    """Why there is no figure, in one phrase."""


class Meter(ABC):
    """Measures from `start` to `stop`.

    Attributes:
        source: what is counted, and by what.
    """

    source: str

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def stop(self) -> float:
        """Return joules since `start`."""


class Counters(Meter):
    """Counters that only grow.

    Args:
        read: each counter's joules, and the joules at which it begins at 0 again, or None.
    """

    def __init__(self, source: str, read: Callable[[], list[tuple[float, float | None]]]) -> None:
        self.source, self._read = source, read
        self._begin: list[tuple[float, float | None]] = []
        self.start()

    def start(self) -> None:
        self._begin = self._read()

    def stop(self) -> float:
        used = 0.0
        for (before, _), (after, wraps_at) in zip(self._begin, self._read(), strict=True):
            used += after - before
            if after < before and wraps_at:
                used += wraps_at
        return used


class Integral(Meter):
    """Power, read by a thread of its own and integrated by the trapezoidal rule.

    Args:
        watts: reads the power.
    """

    def __init__(self, source: str, watts: Callable[[], float]) -> None:
        self.source, self._watts = source, watts
        self._watts()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._joules, self._last = 0.0, (0.0, 0.0)

    def start(self) -> None:
        self._ended.clear()
        self._joules, self._last = 0.0, (time.perf_counter(), self._watts())
        self._thread = threading.Thread(target=self._sample, name="power", daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure:
            raise self._failure
        self._add()
        return self._joules

    def _sample(self) -> None:
        try:
            while not self._ended.wait(SAMPLE_SECONDS):
                self._add()
        except Exception as error:  # for `stop` to raise: nobody hears it in this thread
            self._failure = error

    def _add(self) -> None:
        now, before = (time.perf_counter(), self._watts()), self._last
        self._joules += (now[0] - before[0]) * (now[1] + before[1]) / 2
        self._last = now


def rapl(powercap: Path = POWERCAP) -> Meter:
    """The processor packages' counters (Linux: Documentation/power/powercap/powercap.rst)."""
    zones = [z for z in sorted(powercap.glob("intel-rapl:*")) if _name(z).startswith("package")]
    if not zones:
        raise NoMeter("this system has no RAPL counters in /sys/class/powercap")
    files = [(zone / "energy_uj", zone / "max_energy_range_uj") for zone in zones]

    def read() -> list[tuple[float, float | None]]:
        try:
            return [(int(e.read_text()) / 1e6, int(most.read_text()) / 1e6) for e, most in files]
        except PermissionError:
            # since CVE-2020-8694 the kernel shows it to root alone
            raise NoMeter(f"{files[0][0]} may be read by root only") from None

    return Counters("RAPL, processor packages", read)


def nvml(number: int) -> Meter:
    """The counter, in millijoules, of the GPU that has this number for CUDA."""
    library = _library("pynvml", "nvidia-ml-py")
    library.nvmlInit()
    entry = _unmasked(number, "CUDA_VISIBLE_DEVICES")
    if entry.startswith("GPU-"):
        handle = library.nvmlDeviceGetHandleByUUID(entry)
    else:
        by_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        if not by_bus and library.nvmlDeviceGetCount() > 1:
            # CUDA's own order is "fastest first, the rest unspecified"; NVML's is that of the bus
            raise NoMeter("which GPU it was is not known; set CUDA_DEVICE_ORDER=PCI_BUS_ID")
        handle = library.nvmlDeviceGetHandleByIndex(_index(entry))
    read = library.nvmlDeviceGetTotalEnergyConsumption
    return Counters("NVML, the GPU", lambda: [(read(handle) / 1e3, None)])


def amd_smi(number: int) -> Meter:
    """The counter of the GPU that has this number for HIP, in steps of `counter_resolution` µJ."""
    library = _library("amdsmi", "amdsmi")
    library.amdsmi_init()
    index = _index(_unmasked(number, "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"))
    handle = library.amdsmi_get_processor_handles()[index]

    def read() -> list[tuple[float, float | None]]:
        said = library.amdsmi_get_energy_count(handle)
        steps = said.get("energy_accumulator", said.get("power"))  # its name before ROCm 6.2
        return [(steps * said["counter_resolution"] / 1e6, None)]

    return Counters("amd-smi, the GPU", read)


def dcmi(number: int, load: Callable[[str], Any] = ctypes.CDLL) -> Meter:
    """An Ascend card's power, in tenths of a watt (DCMI API: dcmi_get_device_power_info)."""
    try:
        library = load("libdcmi.so")
    except OSError:
        raise NoMeter("libdcmi.so, which comes with the Ascend driver, is not there") from None
    if code := library.dcmi_init():
        raise NoMeter(f"dcmi_init answers {code}")
    index, power = _index(_unmasked(number, "ASCEND_RT_VISIBLE_DEVICES")), ctypes.c_int()

    def watts() -> float:
        if code := library.dcmi_get_device_power_info(index, 0, ctypes.byref(power)):
            raise NoMeter(f"dcmi_get_device_power_info answers {code}")
        return power.value / 10

    return Integral("DCMI, the card, power integrated", watts)


def _unmasked(number: int, *masks: str) -> str:
    """What the driver calls the device that a program sees under a number: its index, or an id.

    Each of *masks* is a variable that lists devices, and numbers those that it lists anew; the next
    one came before it.
    """
    entry = str(number)
    for mask in masks:
        listed = os.environ.get(mask)
        if listed is not None:
            entries = [part.strip() for part in listed.split(",")]
            place = _index(entry)
            if place >= len(entries):
                raise NoMeter(f"{mask}={listed} has no device {place}")
            entry = entries[place]
    return entry


def _index(entry: str) -> int:
    if not entry.isdigit():
        raise NoMeter(f"the device is chosen as {entry!r}, which is no number")
    return int(entry)


def _library(module: str, distribution: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise NoMeter(f"{distribution} is not installed") from None


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip()
    except OSError:
        return ""
