"""Energy, where the platform tells: counters of the processor or of the device, never an estimate.

| targets | meter |
|---|---|
| CPUs, Intel NPU and integrated GPU | RAPL through Linux' powercap: the whole processor packages |
| cuda | NVML: the GPU's counter (Volta and later) |
| rocm, dcu | amd-smi: the GPU's counter |
| ascend | DCMI, the library below npu-smi: power, ten times a second, integrated |

A meter counts all that its hardware does, other programs' work and idling included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qdeploy.bench.meters import Meter, NoMeter, amd_smi, dcmi, nvml, rapl
from qdeploy.interface import Device
from qdeploy.targets import Evidence, Target

if TYPE_CHECKING:
    from typing_extensions import Self

INTEGRATED = "(iGPU)"
"""What OpenVINO adds to the name of a GPU that is part of the processor; to others, `(dGPU)`."""


class Energy:
    """Adds up what a meter counts in each block under `with`.

    A figure beside the measured ones: what a vendor's library raises ends no measurement, but the
    figure, for good.

    Attributes:
        source: what is counted, and by what; or `none: ` and why there is no figure.
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


def find(target: Target, device: Device) -> Energy:
    """The energy of a device, or why it is not told."""
    return Energy(lambda: _meter(target, device))


def _meter(target: Target, device: Device) -> Meter:
    if device.evidence is not Evidence.DEVICE:
        raise NoMeter("a stand-in's energy says nothing about the device")
    number = int(found[0]) if (found := re.search(r"\d+$", device.id)) else 0
    match target.name:
        case "intel-gpu":
            if INTEGRATED not in device.name:
                raise NoMeter("RAPL does not count a GPU that is not known to be integrated")
            return rapl()
        case "intel-npu":
            return rapl()
        case "cuda":
            return nvml(number)
        case "rocm" | "dcu":
            return amd_smi(number)
        case "ascend":
            return dcmi(number)
    if target.kind == "cpu":
        return rapl()
    raise NoMeter(f"no meter is known for {target.name}")
