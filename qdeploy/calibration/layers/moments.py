"""Second moments of a linear layer's inputs, summed over tokens.

    H = sum of w_t x_t x_t' / sum of w_t        x_t: input of the quantized model, w_t: weight
    C = sum of w_t f_t x_t' / sum of w_t        f_t: input of the float model

Each panel of columns is one product on one thread, so results do not depend on how many threads
there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.layers.arrays import Floats, Pair, run
from qdeploy.calibration.rounding.linear import Moments

PANEL = 512
"""Columns of a panel."""
TOKENS = 8192
"""Tokens of a product: a copy of a panel of theirs takes 16 MiB."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over tokens: *second* and *cross* are [K, K], *weight* is the sum of the weights."""

    second: Floats
    cross: Floats
    weight: float

    def mean(self) -> Moments:
        """The means; the arrays are overwritten. Without any token, zeros."""
        if self.weight > 0:
            for sums in (self.second, self.cross):
                np.divide(sums, np.float32(self.weight), out=sums)
        return Moments(self.second, self.cross)


def add_up(
    inputs: Pair, weights: Floats | None = None, rows: NDArray[np.intp] | None = None
) -> Sums:
    """Sum over tokens.

    Args:
        inputs: of both models, [T, K].
        weights: of tokens, [T], or [len(rows)]; None is 1.
        rows: which tokens; None is all.
    """
    exact, rounded = inputs.both
    if rows is not None:
        exact, rounded = exact[rows], rounded[rows]
    tokens, columns = rounded.shape
    second, cross = np.zeros((2, columns, columns), np.float32)

    def panel(start: int) -> None:
        here = slice(start, min(start + PANEL, columns))
        for first in range(0, tokens, TOKENS):
            part = slice(first, first + TOKENS)
            right, left = rounded[part], rounded[part, here]
            other = exact[part, here]
            if weights is not None:
                left, other = left * weights[part, None], other * weights[part, None]
            second[here, start:] += left.T @ right[:, start:]
            cross[here] += other.T @ right

    run(panel, range(0, columns, PANEL))
    for start in range(0, columns, PANEL):
        # both halves equal, inside of a panel as well, whatever the order of the product's sums
        here = slice(start, start + PANEL)
        block = second[here, here]
        block[:] = np.triu(block) + np.triu(block, 1).T
        second[start + PANEL :, here] = second[here, start + PANEL :].T
    total = float(tokens) if weights is None else float(weights.sum(dtype=np.float64))
    return Sums(second, cross, total)


def mixed(own: Sums, beside: Moments, count: float) -> Moments:
    """The means of few tokens, mixed with others' as if those counted *count* tokens.

    *own* is overwritten. An expert that sees few tokens would else be fitted to them alone.
    """
    whole = np.float32(own.weight + count)
    for mine, other in ((own.second, beside.second), (own.cross, beside.cross)):
        if other is None:
            raise ValueError("moments without those of the float model")
        for start in range(0, len(mine), PANEL):
            part = slice(start, start + PANEL)
            mine[part] += np.float32(count) * other[part]
            mine[part] /= whole
    return Moments(own.second, own.cross)
