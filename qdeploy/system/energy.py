"""Energy meters: the contract, counters, and RAPL, which Linux shows for processor packages.

Meters of devices come from backends (`Backend.meters`); a target's row names its meter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


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


def rapl(powercap: Path = POWERCAP) -> Meter:
    """The counters of the processor packages (Linux: Documentation/power/powercap/powercap.rst)."""
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


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip()
    except OSError:
        return ""
