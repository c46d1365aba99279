"""What else the machine did meanwhile: load, and time that a hypervisor took."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
FIELDS = 8
"""user nice system idle iowait irq softirq steal: guests' time is in user and nice already."""


@dataclass(frozen=True)
class Moment:
    """Load average of one minute, and jiffies since boot: stolen ones and all."""

    load: float | None
    stolen: int | None
    total: int | None


def now(stat: Path = STAT) -> Moment:
    """Look at the machine."""
    stolen = total = None
    try:
        words = stat.read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        words = []
    if len(words) > FIELDS and words[0] == "cpu":
        jiffies = [int(word) for word in words[1 : FIELDS + 1]]
        stolen, total = jiffies[-1], sum(jiffies)
    return Moment(_load(), stolen, total)


def steal(begin: Moment, end: Moment) -> float | None:
    """Part of all processors' time between two moments, 0 to 1, that went to other guests."""
    if begin.stolen is None or begin.total is None or end.stolen is None or end.total is None:
        return None
    passed = end.total - begin.total
    return (end.stolen - begin.stolen) / passed if passed > 0 else 0.0


def load(begin: Moment, end: Moment) -> tuple[float, float] | None:
    """The load average at both moments."""
    return None if begin.load is None or end.load is None else (begin.load, end.load)


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
