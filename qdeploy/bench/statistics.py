"""Statistics of samples: percentiles, spread, and the confidence interval of a ratio."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import exp, log
from statistics import median, stdev

from qdeploy.results import Spread
from qdeploy.results.student import student_t

RESAMPLES = 2000
SEED = 0
FEWEST_PROCESSES = 2
"""A single process says nothing about the variance between processes."""

Groups = Sequence[Sequence[float]]
"""Values grouped by process; no group is empty."""


def spread(values: Sequence[float]) -> Spread:
    """Count, median and percentiles; *values* must not be empty."""
    import numpy as np

    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return Spread(count=len(values), p50=p50, p95=p95, p99=p99)


def pooled_median(groups: Groups) -> float:
    """The median over all groups."""
    return median(value for group in groups for value in group)


def relative_iqr(groups: Groups) -> float:
    """Interquartile range of all values, divided by their median."""
    import numpy as np

    values = [value for group in groups for value in group]
    middle = median(values)
    low, high = np.percentile(values, (25, 75)).tolist()
    return (high - low) / middle if middle else 0.0


def ratio_interval(a: Groups, b: Groups, *, seed: int = SEED) -> tuple[float, float] | None:
    """95% confidence interval of median(b) / median(a); None if a side has only one process.

    The standard error of the ratio's logarithm comes from a hierarchical bootstrap that resamples
    processes and then the runs of each, because runs of one process are correlated (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). It is multiplied by the
    quantile of Student's t for the number of processes; percentiles of the resampled ratios would
    be too narrow (Hesterberg, What Teachers Should Know about the Bootstrap, 2015,
    arXiv:1411.5279).
    """
    if min(len(a), len(b)) < FEWEST_PROCESSES:
        return None
    rng = random.Random(seed)  # noqa: S311
    logs = [log(_resampled_median(b, rng) / _resampled_median(a, rng)) for _ in range(RESAMPLES)]
    center = log(pooled_median(b) / pooled_median(a))
    half_width = student_t(len(a) + len(b) - 2) * stdev(logs)
    return exp(center - half_width), exp(center + half_width)


def _resampled_median(groups: Groups, rng: random.Random) -> float:
    drawn = rng.choices(groups, k=len(groups))
    return median(v for group in drawn for v in rng.choices(group, k=len(group)))
