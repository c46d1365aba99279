"""Codes column by column, where each makes up for the errors of those before it.

With H = U U', U upper triangular, and e = target - result, the loss of a row is

    e H e' = sum_j (e_j U_jj + sum_{i<j} e_i U_ij)^2,

and column j's term depends on the columns before it alone. So the code of column j is the nearest
to target_j + sum_{i<j} e_i U_ij / U_jj. This is GPTQ (Frantar et al., arXiv:2210.17323) in the
form of Babai's nearest plane algorithm (Chen et al., arXiv:2507.18553), with scales that are fixed
before (its "static groups") and columns by descending H_jj (its "act order").
"""

from __future__ import annotations

import numpy as np

from qdeploy.calibration.rounding.factor import Factor
from qdeploy.calibration.rounding.grid import Steps
from qdeploy.quantization.rounding import Floats

INNER = 16
"""Columns whose errors reach each other by products with a vector; those of earlier ones come by
products of matrices."""


def nearest_plane(target: Floats, steps: Steps, factor: Factor, size: int) -> tuple[Floats, Floats]:
    """Choose the integers p = code - zero point of *target* [K, R].

    Args:
        target: weights, transposed, columns in their own order.
        steps: of groups of *size* columns.
        factor: of the second moments of the inputs.
        size: columns of a group.

    Returns:
        The integers, and the gradient H e (without damping), which is known almost for free:
        [K, R], columns in their own order.
    """
    wanted, upper = target[factor.order], factor.upper
    errors, integers = np.empty_like(wanted), np.empty_like(wanted)
    shifted = np.empty((INNER, target.shape[1]), np.float32)
    for block in factor.blocks():
        diagonal = factor.diagonal[block]
        sums = upper[: block.start, block].T @ errors[: block.start]
        before = sums / diagonal[:, None]
        before += wanted[block]
        within = np.ascontiguousarray((upper[block, block] / diagonal).T)
        groups = (factor.order[block] // size).tolist()
        rows = _Rows(wanted[block], errors[block], integers[block], steps)
        for start in range(0, len(groups), INNER):
            inner = slice(start, min(start + INNER, len(groups)))
            bases = shifted[: inner.stop - start]
            np.matmul(within[inner, :start], rows.errors[:start], out=bases)
            bases += before[inner]
            rows.choose(inner, groups[inner], bases, within[inner, inner])
        sums += upper[block, block].T @ errors[block]
        wanted[block] = sums  # U' e, where its target is needed no more
    factor.complete(wanted, errors)
    result, gradient = np.empty_like(integers), errors
    result[factor.order] = integers
    gradient[factor.order] = wanted
    return result, gradient


class _Rows:
    """A block of columns, and what is written of them."""

    def __init__(self, wanted: Floats, errors: Floats, integers: Floats, steps: Steps) -> None:
        self.wanted, self.errors, self.integers = wanted, errors, integers
        self.scales, self.lows, self.highs = steps
        self.inverses = steps.inverses
        self.buffer = np.empty(wanted.shape[1], np.float32)

    def choose(self, inner: slice, groups: list[int], bases: Floats, within: Floats) -> None:
        """Choose the integers of the columns *inner*, one after the other."""
        buffer = self.buffer
        here = self.errors[inner]
        columns = zip(groups, bases, self.wanted[inner], here, self.integers[inner], strict=True)
        for j, (group, base, wanted, error, p) in enumerate(columns):
            if j:
                np.dot(within[j, :j], here[:j], out=buffer)
                np.add(buffer, base, out=buffer)
                base = buffer
            np.multiply(base, self.inverses[group], out=p)
            np.rint(p, out=p)
            np.maximum(p, self.lows[group], out=p)
            np.minimum(p, self.highs[group], out=p)
            np.multiply(p, self.scales[group], out=error)
            np.subtract(wanted, error, out=error)
