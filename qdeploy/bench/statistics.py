"""What samples say: percentiles, spread, and how sure a ratio is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import exp, log
from statistics import NormalDist, median, stdev

from qdeploy.results import Spread

RESAMPLES = 2000
SEED = 0
FEWEST_PROCESSES = 2
"""One process tells nothing of the noise between processes."""
T_975 = (
    4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
    2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052,
    2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t, 97.5%, for 2 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2)."""

Groups = Sequence[Sequence[float]]
"""Values by the process that made them; no group is empty."""


def spread(values: Sequence[float]) -> Spread:
    """Count, median and percentiles of at least one value."""
    import numpy as np

    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return Spread(count=len(values), p50=p50, p95=p95, p99=p99)


def pooled_median(groups: Groups) -> float:
    """The median of all values."""
    return median(value for group in groups for value in group)


def relative_iqr(groups: Groups) -> float:
    """Distance of the quartiles of all values, as a part of their median."""
    import numpy as np

    values = [value for group in groups for value in group]
    middle = median(values)
    low, high = np.percentile(values, (25, 75)).tolist()
    return (high - low) / middle if middle else 0.0


def ratio_interval(a: Groups, b: Groups, *, seed: int = SEED) -> tuple[float, float] | None:
    """Interval of median(b) / median(a), 95%; None where a side has a single process.

    The ratio's standard error, of its logarithm, is a bootstrap's: first processes are resampled,
    then the runs of each, as runs of one process share what happened to it (Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 3.8). The interval is as many of them
    wide as Student's t says for so few processes; percentiles of the resampled ratios would be too
    narrow (Hesterberg, What Teachers Should Know about the Bootstrap, 2015, arXiv:1411.5279).
    """
    if min(len(a), len(b)) < FEWEST_PROCESSES:
        return None
    chance = random.Random(seed)  # noqa: S311
    logs = [
        log(_resampled_median(b, chance) / _resampled_median(a, chance)) for _ in range(RESAMPLES)
    ]
    middle = log(pooled_median(b) / pooled_median(a))
    wide = student_t(len(a) + len(b) - 2) * stdev(logs)
    return exp(middle - wide), exp(middle + wide)


def student_t(freedom: int) -> float:
    """Quantile 97.5% of Student's t distribution, for at least two degrees of freedom."""
    return T_975[freedom - 2] if freedom - 2 < len(T_975) else NormalDist().inv_cdf(0.975)


def _resampled_median(groups: Groups, chance: random.Random) -> float:
    drawn = chance.choices(groups, k=len(groups))
    return median(v for group in drawn for v in chance.choices(group, k=len(group)))
