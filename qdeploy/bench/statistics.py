"""What samples say: percentiles, spread, and how sure a ratio is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

from qdeploy.metrics import percentile
from qdeploy.results import Spread

RESAMPLES = 2000
CONFIDENCE = 95.0
SEED = 0

Groups = Sequence[Sequence[float]]
"""Values by the process that made them; no group is empty."""


def spread(values: Sequence[float]) -> Spread:
    """Count, median and percentiles of at least one value."""
    p50, p95, p99 = (percentile(values, q) for q in (50, 95, 99))
    return Spread(count=len(values), p50=p50, p95=p95, p99=p99)


def pooled_median(groups: Groups) -> float:
    """The median of all values."""
    return median(value for group in groups for value in group)


def relative_iqr(groups: Groups) -> float:
    """Distance of the quartiles of all values, as a part of their median."""
    values = [value for group in groups for value in group]
    middle = median(values)
    return (percentile(values, 75) - percentile(values, 25)) / middle if middle else 0.0


def ratio_interval(a: Groups, b: Groups, *, seed: int = SEED) -> tuple[float, float]:
    """Bootstrap interval of median(b) / median(a), from percentiles of resampled ratios.

    Both levels are resampled, first processes, then the runs of each: runs of one process share
    what happened to it, so that taking them as independent would make the interval too narrow
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
    """
    chance = random.Random(seed)  # noqa: S311 - not a secret
    ratios = []
    for _ in range(RESAMPLES):
        one, other = _resampled_median(a, chance), _resampled_median(b, chance)
        ratios.append(other / one)
    outside = (100 - CONFIDENCE) / 2
    return percentile(ratios, outside), percentile(ratios, 100 - outside)


def _resampled_median(groups: Groups, chance: random.Random) -> float:
    drawn = chance.choices(groups, k=len(groups))
    return median(v for group in drawn for v in chance.choices(group, k=len(group)))
