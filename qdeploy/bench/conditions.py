"""Conditions of a measurement: load average, and CPU time stolen by the hypervisor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
FIELDS = 8
"""user nice system idle iowait irq softirq steal; user and nice include the time of guests."""


@dataclass(frozen=True)
class Moment:
    """Load average of one minute; jiffies since boot, stolen and total."""

    load: float | None
    stolen: int | None
    total: int | None


def now(stat: Path = STAT) -> Moment:
    """Read the present values."""
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
    """Return the share of CPU time, 0 to 1, that was stolen between two moments."""
    if begin.stolen is None or begin.total is None or end.stolen is None or end.total is None:
        return None
    passed = end.total - begin.total
    return (end.stolen - begin.stolen) / passed if passed > 0 else 0.0


def load(begin: Moment, end: Moment) -> tuple[float, float] | None:
    """Return the load average at both moments."""
    return None if begin.load is None or end.load is None else (begin.load, end.load)


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
