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

from qdeploy.calibration.arrays import Floats, Pair, run
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
        return Moments(_divide(self.second, self.weight), _divide(self.cross, self.weight))


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
    second, cross = _second(rounded, weights), _sum(exact, rounded, weights)
    return Sums(second, cross, _total(len(rounded), weights))


def second_moments(inputs: Floats, weights: Floats | None = None) -> Floats:
    """H [K, K] of the inputs [T, K] of one model, with weights [T]; None is 1.

    Zeros where no token counts.
    """
    return _divide(_second(inputs, weights), _total(len(inputs), weights))


def _second(inputs: Floats, weights: Floats | None) -> Floats:
    """Sum of w_t x_t x_t'; both halves are equal, inside of a panel as well."""
    second = _sum(inputs, inputs, weights, upper=True)
    for start in range(0, len(second), PANEL):
        here = slice(start, start + PANEL)
        block = second[here, here]
        block[:] = np.triu(block) + np.triu(block, 1).T  # a product's two halves may round apart
        second[start + PANEL :, here] = second[here, start + PANEL :].T
    return second


def _sum(left: Floats, right: Floats, weights: Floats | None, *, upper: bool = False) -> Floats:
    """Sum of w_t l_t r_t' of [T, K]; *upper*: of the panels on the diagonal and right of it."""
    tokens, columns = left.shape
    sums = np.zeros((columns, columns), np.float32)

    def panel(start: int) -> None:
        here, there = slice(start, start + PANEL), slice(start if upper else 0, columns)
        for first in range(0, tokens, TOKENS):
            part = slice(first, first + TOKENS)
            own = left[part, here]
            if weights is not None:
                own = own * weights[part, None]
            sums[here, there] += own.T @ right[part, there]

    run(panel, range(0, columns, PANEL))
    return sums


def _total(tokens: int, weights: Floats | None) -> float:
    return float(tokens) if weights is None else float(weights.sum(dtype=np.float64))


def _divide(sums: Floats, weight: float) -> Floats:
    """Divide in place where any token counts."""
    return np.divide(sums, np.float32(weight), out=sums) if weight > 0 else sums


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
