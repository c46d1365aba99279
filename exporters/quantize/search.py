"""Better scales than the plain ones for four bits, found without data.

A plain scale spans the range of its group, and leaves integers. For these the best scale follows at
once, as the weighted regression of the weights on them: it has the least error

    sum over the group of  v * (w - scale * p)^2,   v = |w| + 2 mean |w|,   p = code - zero point.

The weighting counts large weights up to a few times as much as small ones: it is they who are cut
off where a scale is too small, and cut-off weights all err towards zero, so that in a product such
errors add up. The form is that of llama.cpp's formats without data (|w| + root mean square,
`quantize_row_q4_K_ref` in ggml-quants.c).

Much smaller scales, which cut off the outermost weights for the sake of the others, have less of
this error still, and were tried: with them a group's error falls twice as far. But what they do to
these checkpoints is another matter. On 345 texts of 17 000 tokens, Kullback-Leibler divergence from
the float model in nats a token, with its standard error of the difference to NNCF's plain scales:

    qwen3-nano, asymmetric, groups of 128      NNCF 0.0069   here -0.0005 +- 0.0001   cut -0.0006
    qwen3-nano-moe, asymmetric, groups of 128  NNCF 0.0210   here -0.0007 +- 0.0005   cut +0.0021
    qwen3-nano-moe, symmetric, whole rows      NNCF 0.0235   here -0.0008 +- 0.0006   cut +0.0015

The errors are those of sampling texts. What one checkpoint's own rounding happens to do weighs as
much: in forms of the models that are equal but for signs and scales of columns, a scheme's
divergence spreads by 6 to 15%. Over such forms, regression is 2 to 4% below plain scales, and
cutting off is undecided on the mixture and better in whole rows of the dense model.

Everything is in units of the plain scale (u = w / scale), so nothing overflows or vanishes whatever
the size of the weights. Zero points stay: zero stays on the grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.exporters.quantize.rounding import Ends, Floats, Grid, Parameters

MEANS = 2
"""Mean magnitudes in the weighting."""
MARGIN = np.float32(2**-16)
"""What a scale must gain to be taken, as a part of the group's weighted square: the sums below are
float32, and an error that only seems smaller is not to be had."""
LARGEST_HALF = np.float32(65504)
BUFFERS = 4
"""Buffers that `improve` works in."""


def improve(
    groups: Floats,
    ends: Ends,
    parameters: Parameters,
    grid: Grid,
    *,
    buffers: NDArray[np.float32],
) -> Parameters:
    """Parameters with scales of less weighted error, group by group; the old where none is found.

    *groups* are weights [groups, size], *ends* theirs, *parameters* those of `rounding.plain` for
    them; *buffers*, [BUFFERS, groups, size], are overwritten.
    """
    fit = _Fit(groups, ends, parameters, grid, buffers)
    return Parameters(fit.scales(), parameters.zero_points)


class _Fit:
    """The regression over one tile of groups. Vectors are [groups, 1]."""

    def __init__(
        self,
        groups: Floats,
        ends: Ends,
        parameters: Parameters,
        grid: Grid,
        buffers: NDArray[np.float32],
    ) -> None:
        self._plain = parameters.scales
        self._u, self._weighting, self._p, self._product = buffers
        np.divide(groups, parameters.scales, out=self._u)
        np.abs(self._u, out=self._weighting)
        total = np.einsum("ij->i", self._weighting)[:, None]
        self._weighting += total * np.float32(MEANS / groups.shape[1])
        np.rint(self._u, out=self._p)
        self._clip(ends, parameters, grid)

    def _clip(self, ends: Ends, parameters: Parameters, grid: Grid) -> None:
        """Keep the integers within the grid."""
        if parameters.zero_points is None:
            np.clip(self._p, grid.low, grid.high, out=self._p)
            return
        # plain scales span each group's range, so only rounding takes a few groups over an end
        low, high = grid.low - parameters.zero_points, grid.high - parameters.zero_points
        over = np.rint(ends.lowest / parameters.scales) < low
        over |= np.rint(ends.highest / parameters.scales) > high
        rows = np.flatnonzero(over)
        self._p[rows] = np.clip(self._p[rows], low[rows], high[rows])

    def scales(self) -> Floats:
        """The best scales for the plain integers, as float16 has them, where they are better.

        Weights are rounded anew by the scale that is chosen, to integers that are nearer still, so
        the error is at most what is compared here.
        """
        covariance, square = self._sums()
        found = self._plain * _divide(covariance, square)
        halves = np.clip(found, -LARGEST_HALF, LARGEST_HALF).astype(np.float16).astype(np.float32)
        # never zero: its error would be 0, and that of the plain integers is less
        error = _error(halves / self._plain, covariance, square)
        plain_error, margin = _error(np.float32(1), covariance, square), MARGIN * square
        return np.where(error + margin < plain_error, halves, self._plain)

    def _sums(self) -> tuple[Floats, Floats]:
        """(sum v u p, sum v p^2) for the plain integers p.

        By `einsum`, which adds in one order on every machine; products that go to a BLAS do not.
        """
        np.multiply(self._p, self._weighting, out=self._product)
        covariance = np.einsum("ij,ij->i", self._product, self._u)
        square = np.einsum("ij,ij->i", self._product, self._p)
        return covariance[:, None], square[:, None]


def _error(step: Floats | np.float32, covariance: Floats, square: Floats) -> Floats:
    """Weighted squared error at *step*, less the constant sum v u^2."""
    return np.asarray(step * (step * square - 2 * covariance))


def _divide(covariance: Floats, square: Floats) -> Floats:
    """The scale of regression; 1 where every integer is zero."""
    return np.divide(covariance, square, out=np.ones_like(square), where=square > 0)
