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

from qdeploy.exporters.quantize.rounding import Floats, Grid, Parameters

MEANS = 2
"""Mean magnitudes in the weighting."""
MARGIN = np.float32(2**-16)
"""What a scale must gain to be taken, as a part of the group's weighted square: the sums below are
float32, and an error that only seems smaller is not to be had."""
LARGEST_HALF = np.float32(65504)
BUFFERS = 6
"""Buffers that `improve` works in."""


def improve(
    groups: Floats, parameters: Parameters, grid: Grid, *, buffers: NDArray[np.float32]
) -> Parameters:
    """Parameters with scales of less weighted error, group by group; the old where none is found.

    *groups* are weights [groups, size], *parameters* those of `rounding.plain` for them; *buffers*,
    [BUFFERS, groups, size], are overwritten.
    """
    return Parameters(_Fit(groups, parameters, grid, buffers).scales(), parameters.zero_points)


class _Fit:
    """The regression over one tile of groups. Vectors are [groups, 1]."""

    def __init__(
        self, groups: Floats, parameters: Parameters, grid: Grid, buffers: NDArray[np.float32]
    ) -> None:
        self._plain = parameters.scales
        self._grid = grid
        self._u, self._weighting, self._p, self._product, *bounds = buffers
        self._bounds = bounds if parameters.zero_points is not None else None
        if parameters.zero_points is not None:
            for buffer, end in zip(bounds, (grid.low, grid.high), strict=True):
                np.copyto(buffer, end - parameters.zero_points)
        np.divide(groups, parameters.scales, out=self._u)
        np.abs(self._u, out=self._weighting)
        total = np.add.reduce(self._weighting, axis=1, keepdims=True)
        self._weighting += total * np.float32(MEANS / groups.shape[1])

    def scales(self) -> Floats:
        """The best scales for the plain integers, as float16 has them, where they are better."""
        one = np.float32(1)
        covariance, square = self._sums(one)
        plain_error, margin = _error(one, covariance, square), MARGIN * square
        found = self._plain * _divide(covariance, square)
        halves = np.clip(found, -LARGEST_HALF, LARGEST_HALF).astype(np.float16).astype(np.float32)
        step = halves / self._plain
        step[step == 0] = 1
        # judged with the integers that weights are then rounded to, which are nearer still
        error = _error(step, *self._sums(step))
        return np.where(error + margin < plain_error, halves, self._plain)

    def _sums(self, step: Floats | np.float32) -> tuple[Floats, Floats]:
        """(sum v u p, sum v p^2) for the integers p that are nearest to u / step on the grid."""
        p, product = self._p, self._product
        np.multiply(self._u, np.float32(1) / step, out=p)
        if self._bounds is None:
            np.clip(p, self._grid.low, self._grid.high, out=p)
        else:  # bounds of full size: np.clip with arrays and broadcasting both take twice as long
            lowest, highest = self._bounds
            np.maximum(p, lowest, out=p)
            np.minimum(p, highest, out=p)
        np.rint(p, out=p)
        np.multiply(p, self._weighting, out=product)
        covariance = np.einsum("ij,ij->i", product, self._u)
        square = np.einsum("ij,ij->i", product, p)
        return covariance[:, None], square[:, None]


def _error(step: Floats | np.float32, covariance: Floats, square: Floats) -> Floats:
    """Weighted squared error at *step*, less the constant sum v u^2."""
    return np.asarray(step * (step * square - 2 * covariance))


def _divide(covariance: Floats, square: Floats) -> Floats:
    """The scale of regression; 1 where every integer is zero."""
    return np.divide(covariance, square, out=np.ones_like(square), where=square > 0)
