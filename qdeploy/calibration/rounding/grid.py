"""Scales and zero points of groups of weights, by search with a weight for each column.

The error of a group is sum_j h_j (w_j - scale * p_j)^2 with integers p = code - zero point, where
h_j is the second moment of input j: the squared error of the output as if inputs were uncorrelated.
Candidates are ranges from the group's own down to 0.6 of it, since clipping a few weights makes the
steps of all others finer. For each candidate's integers the best scale is a regression, as in
`quantization.search`, and the least error after it wins.

Matrices are transposed here and in the rest of the package, [columns K, rows R]: what is computed
column by column then lies contiguously in memory for all rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qdeploy.errors import CheckpointError
from qdeploy.quantization.rounding import DAMAGED, Floats, Grid, to_half
from qdeploy.quantization.search import LARGEST_HALF

SHRINKS = np.linspace(1.0, 0.6, 17, dtype=np.float32)
"""Shares of a group's range that candidates span."""
PIECE = 2**16
"""Weights that are searched at a time: a few buffers of this size stay in a core's own cache."""


class Steps(NamedTuple):
    """Scales of the groups of some rows, and the integers that they allow; float32 [G, R] each.

    Attributes:
        scales: values that float16 represents exactly; never zero. Negative only where symmetric.
        lows, highs: least and greatest integer p = code - zero point.
    """

    scales: Floats
    lows: Floats
    highs: Floats

    @property
    def inverses(self) -> Floats:
        return np.reciprocal(self.scales)


def search(target: Floats, importance: Floats, grid: Grid, size: int) -> Steps:
    """Find the steps of each group of *size* columns of *target* [K, R].

    Args:
        target: finite weights, transposed.
        importance: h, [K], not negative; a group where all are zero is searched with equal ones.
        grid: the codes.
        size: columns of a group, which divides K.

    Raises:
        CheckpointError: a weight is too large for a float16 scale.
    """
    columns, rows = target.shape
    steps = Steps(*np.empty((3, columns // size, rows), np.float32))
    width = max(1, min(size, PIECE // rows))
    buffers = np.empty((3, width, rows), np.float32)
    for group in range(columns // size):
        here = slice(group * size, (group + 1) * size)
        weights, h = target[here], importance[here]
        top = h.max()
        h = h / top if top > 0 else np.ones_like(h)
        candidates = _candidates(weights.min(axis=0), weights.max(axis=0), grid)
        covariance, square = _sums(weights, h, candidates, buffers)
        chosen = _best(candidates, covariance, square, symmetric=grid.symmetric)
        for all_groups, one in zip(steps, chosen, strict=True):
            all_groups[group] = one
    return steps


class _Candidates(NamedTuple):
    """Positive scales [S, R], and for each two pairs of bounds [S, 2, R] or [1, 2, 1].

    Symmetric: the second bounds are those of a negative scale, seen from a positive one.
    """

    scales: Floats
    lows: Floats
    highs: Floats


def _candidates(lowest: Floats, highest: Floats, grid: Grid) -> _Candidates:
    shrinks = SHRINKS[:, None]
    with np.errstate(over="ignore"):
        if grid.symmetric:
            span, levels = np.maximum(highest, -lowest), -grid.low
        else:
            lowest, highest = np.minimum(lowest, 0), np.maximum(highest, 0)
            span, levels = highest - lowest, grid.high - grid.low
        scales = to_half((span / levels * shrinks).astype(np.float32))
    if not np.isfinite(scales).all():
        magnitude = np.maximum(highest, -lowest).max()
        raise CheckpointError(
            f"a weight of magnitude {magnitude:.3g} is too large for float16 scales", fix=DAMAGED
        )
    if grid.symmetric:
        lows = np.array([grid.low, -grid.high], np.float32).reshape(1, 2, 1)
        return _Candidates(scales, lows, lows + (grid.high - grid.low))
    exact = -lowest * shrinks / scales
    points = np.stack([np.floor(exact), np.ceil(exact)], axis=1).clip(grid.low, grid.high)
    return _Candidates(scales, grid.low - points, grid.high - points)


def _sums(
    weights: Floats, h: Floats, candidates: _Candidates, buffers: Floats
) -> tuple[Floats, Floats]:
    """(sum h u p, sum h p^2), [S, 2, R], with u = w / scale and the nearest integers p to it."""
    scales, lows, highs = candidates
    sums = np.zeros((2, len(scales), 2, weights.shape[1]), np.float32)
    inverses = np.reciprocal(scales)
    shape = (len(scales), 2, lows.shape[2])
    lows, highs = np.broadcast_to(lows, shape), np.broadcast_to(highs, shape)
    for start in range(0, len(weights), buffers.shape[1]):
        piece = weights[start : start + buffers.shape[1]]
        share = h[start : start + len(piece)]
        u, nearest, p = buffers[:, : len(piece)]
        for s in range(len(scales)):
            np.multiply(piece, inverses[s], out=u)
            np.rint(u, out=nearest)
            for bounds in (0, 1):
                np.maximum(nearest, lows[s, bounds], out=p)
                np.minimum(p, highs[s, bounds], out=p)
                sums[1, s, bounds] += share @ np.square(p)
                np.multiply(p, u, out=p)
                sums[0, s, bounds] += share @ p
    return sums[0], sums[1]


def _best(
    candidates: _Candidates, covariance: Floats, square: Floats, *, symmetric: bool
) -> tuple[Floats, Floats, Floats]:
    """Scale, low and high of the candidate of least error, vectors [R].

    Errors are in units of the widest candidate's scale, so they neither overflow nor underflow, and
    without the constant sum h w^2.
    """
    scales = candidates.scales[:, None]
    regression = np.divide(covariance, square, out=np.ones_like(square), where=square > 0)
    # integers and weights have the same sign, so a scale is positive; only underflow makes it zero
    regression[regression <= 0] = 1
    found = to_half(np.minimum(scales * regression, LARGEST_HALF))
    options = np.stack([np.broadcast_to(scales, found.shape), found])
    unit = candidates.scales[0]
    step = options / unit
    errors = step * (step * square - 2 * (scales / unit) * covariance)
    rows = np.arange(errors.shape[-1])
    flat = errors.reshape(-1, len(rows)).argmin(axis=0)
    bounds = flat % square[:, :, 0].size
    scale = options.reshape(-1, len(rows))[flat, rows]
    lows = np.broadcast_to(candidates.lows, square.shape).reshape(-1, len(rows))[bounds, rows]
    highs = np.broadcast_to(candidates.highs, square.shape).reshape(-1, len(rows))[bounds, rows]
    if symmetric:
        # for a negative scale, the integers of opposite sign are the codes
        flipped = bounds % 2 == 1
        scale = np.where(flipped, -scale, scale)
        lows, highs = np.where(flipped, -highs, lows), np.where(flipped, -lows, highs)
    return scale, lows, highs
