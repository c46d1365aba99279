"""95% intervals of a mean KL divergence, and of the difference of two, by a block bootstrap.

Tokens of a passage are correlated, so passages are resampled, not tokens (Davison and Hinkley,
Bootstrap Methods and their Application, 1997, section 3.8). Of few passages, plain percentiles are
too narrow: they are expanded by Student's t for the number of blocks (Hesterberg, What Teachers
Should Know about the Bootstrap, 2015, arXiv:1411.5279, section 4.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from qdeploy.results import KlBlock
from qdeploy.results.student import student_t

Doubles = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 10_000
"""Of five blocks the expanded percentiles are 0.1% and 99.9%: ten resamples are beyond each."""
SEED = 0
AT_A_TIME = 1_000
"""Resamples drawn at a time, so that a text of 1,000 blocks takes 8 MB."""
FEWEST = 5
"""Fewest blocks that have an interval. If two models were equally far, four passages would all
point the same way in one case of eight, five in one of sixteen."""
POSITIONS = 32
"""Positions of a block, where a text has fewer passages than `FEWEST`."""


def split_blocks(passages: Sequence[Doubles]) -> tuple[KlBlock, ...]:
    """The blocks of a text: its passages, or, of fewer than `FEWEST`, parts of each.

    Args:
        passages: KL divergence of each position, in nats, [T] a passage.
    """
    parts: Sequence[Doubles] = passages
    if len(passages) < FEWEST:
        parts = [
            part
            for passage in passages
            for part in np.array_split(passage, max(1, round(len(passage) / POSITIONS)))
        ]
    return tuple(KlBlock(nats=float(p.sum()), tokens=len(p)) for p in parts if len(p))


def mean_interval(blocks: Sequence[KlBlock]) -> Interval | None:
    """95% interval of the mean over all tokens, in nats; None of fewer than `FEWEST` blocks."""
    return _interval([block.nats for block in blocks], [block.tokens for block in blocks])


def same_blocks(a: Sequence[KlBlock], b: Sequence[KlBlock]) -> bool:
    """Whether two results of one text may be paired: their blocks have the same sizes."""
    return bool(a) and [block.tokens for block in a] == [block.tokens for block in b]


def difference_interval(a: Sequence[KlBlock], b: Sequence[KlBlock]) -> Interval | None:
    """95% interval of b's mean minus a's, in nats, over the same blocks of one text.

    Paired: each resample draws the same blocks for both, so what makes a passage hard for both
    models cancels. None of fewer than `FEWEST` blocks.

    Raises:
        ValueError: the blocks are not the same.
    """
    if not same_blocks(a, b):
        raise ValueError("the blocks of the two results differ")
    nats = [other.nats - one.nats for one, other in zip(a, b, strict=True)]
    return _interval(nats, [block.tokens for block in a])


def _interval(nats: Sequence[float], tokens: Sequence[int]) -> Interval | None:
    count = len(nats)
    if count < FEWEST:
        return None
    sums, sizes = np.array(nats), np.array(tokens, np.float64)
    random = np.random.default_rng(SEED)
    means = []
    for _ in range(RESAMPLES // AT_A_TIME):
        drawn = random.integers(0, count, (AT_A_TIME, count))
        means.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    below = NormalDist().cdf(-sqrt(count / (count - 1)) * student_t(count - 1))
    low, high = np.quantile(np.concatenate(means), (below, 1 - below)).tolist()
    return low, high
