"""Energy of the measured runs: counters of the processor or of the device, never an estimate.

The target's row names its meter: `rapl`, the default of CPUs, counts the processor packages, `nvml`
NVIDIA's GPUs; a backend provides every other meter. A meter counts all work of its hardware, idling
and other programs included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qdeploy import registry
from qdeploy.interface import Device
from qdeploy.system import energy, nvml
from qdeploy.system.energy import Meter, NoMeter
from qdeploy.targets import NVML, RAPL, Evidence, Target

if TYPE_CHECKING:
    from typing_extensions import Self


OWN: Mapping[str, Callable[[Target, Device], Meter]] = {
    RAPL: lambda target, device: energy.rapl(),
    NVML: lambda target, device: nvml.nvml(device.id, target.masks),
}
"""Meters that need no backend, by name."""


class Energy:
    """Adds up what a meter counts in each `with` block.

    An error of a vendor's library does not end the benchmark; it ends the energy measurement.

    Attributes:
        source: the counter; or `none: ` and the reason.
    """

    def __init__(self, make: Callable[[], Meter]) -> None:
        self._meter: Meter | None = None
        self._joules = 0.0
        with self._failing():
            self._meter = make()
            self.source = self._meter.source

    @property
    def joules(self) -> float | None:
        """Joules since `clear`, or None."""
        return self._joules if self._meter else None

    def clear(self) -> None:
        self._joules = 0.0

    def __enter__(self) -> Self:
        if self._meter:
            with self._failing():
                self._meter.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._meter:
            with self._failing():
                self._joules += self._meter.stop()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except NoMeter as error:
            self._meter, self.source = None, f"none: {error}"
        except Exception as error:  # a vendor's library has errors of its own kind
            self._meter, self.source = None, f"none: {type(error).__name__}: {error}"


class _Sum(Meter):
    """The meters of several devices that work together."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self.source = f"{meters[0].source}, {len(meters)} devices"
        self._meters = meters

    def start(self) -> None:
        for meter in self._meters:
            meter.start()

    def stop(self) -> float:
        return sum(meter.stop() for meter in self._meters)


def find(target: Target, devices: Sequence[Device]) -> Energy:
    """Return the energy counter of the devices together, or one that has only a reason."""
    return Energy(lambda: _meters(target, devices))


def _meters(target: Target, devices: Sequence[Device]) -> Meter:
    meters = [_meter(target, device) for device in devices]
    return meters[0] if len(meters) == 1 else _Sum(meters)


def _meter(target: Target, device: Device) -> Meter:
    if target.meter is None:
        raise NoMeter(f"no meter is known for {target.name}")
    if device.evidence is not Evidence.DEVICE:
        raise NoMeter("the energy of a simulated device is not the target's")
    make = OWN.get(target.meter) or registry.meters().get(target.meter)
    if make is None:
        raise NoMeter(f"no installed backend provides the meter {target.meter!r}")
    return make(target, device)
