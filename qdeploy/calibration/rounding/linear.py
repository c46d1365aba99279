"""Calibrated quantization of a linear layer.

The quantized model feeds the layer inputs x, where the float model has x_f, and its residual stream
lacks r of the float one. What is sought for the weight W are the codes, scales and zero points of a
matrix Q with the least

    E || (W x_f + r) - Q x ||^2.

With H = E[x x'], C = E[x_f x'] and R = E[r x'] this is, but for a constant, the loss (Q - W*) H
(Q - W*)' of each row around the target W* = (W C + R) H^-1 = W + (W (C - H) + R) H^-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qdeploy.calibration.rounding.factor import Factor
from qdeploy.calibration.rounding.feedback import nearest_plane
from qdeploy.calibration.rounding.grid import search
from qdeploy.calibration.rounding.refine import Solution
from qdeploy.errors import CheckpointError
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import PER_CHANNEL, Precision
from qdeploy.quantization.quantized import Quantized
from qdeploy.quantization.rounding import DAMAGED, Floats, Grid

CHUNK = 512
"""Rows that are computed at a time: enough for the matrix products and for a column's operations to
be worth their calls, and few enough for the buffers to be small next to H."""
ROUNDS = 2
"""Times that scales and codes are refined."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of a layer's inputs over all tokens.

    Attributes:
        second: H = E[x x'], float32 [K, K], of the inputs x that the quantized model has.
        cross: C = E[x_f x'], float32 [K, K], with the float model's inputs x_f; None where the
            two are the same.
    """

    second: Floats
    cross: Floats | None


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a weight, quantized.

    Attributes:
        quantized: codes, scales and zero points, columns in the weight's order.
        loss: the sum over the rows of (q - w*) H (q - w*)', where w* is the target.
        energy: the sum over the rows of w H w', the output's second moment, for a relative loss.
    """

    quantized: Quantized
    loss: float
    energy: float


class Problem:
    """Quantizes the rows of all weights that share the inputs, e.g. those of q, k and v.

    Threads may call `rows` at the same time.
    """

    def __init__(self, moments: Moments, precision: Precision, *, where: str | None = None) -> None:
        """Prepare for *moments*, whose `cross` is overwritten.

        Args:
            moments: kept, not copied; one more matrix of their size is made.
            precision: int4 or int8, with a group size that divides K.
            where: name of the layer, for errors.

        Raises:
            CheckpointError: moments are not finite, or far from positive semidefinite.
        """
        if precision.dtype not in ("int4", "int8"):
            raise ValueError(f"{precision} is not made of integers")
        second, cross = moments.second, moments.cross
        columns = len(second)
        self._size = columns if precision.group_size == PER_CHANNEL else precision.group_size
        if columns % self._size:
            raise ValueError(f"group size {self._size} does not divide {columns} columns")
        check_activations(second, where)
        if cross is not None:
            check_activations(cross, where)
        self._precision, self._grid = precision, Grid.of(precision)
        self._second, self._importance = second, second.diagonal().copy()
        self._factor = Factor(second, where=where) if self._importance.any() else None
        self._drift: Floats | None = None
        if cross is not None and self._factor is not None:
            self._drift = np.subtract(cross, second, out=cross)

    def rows(self, weight: Floats, owed: Floats | None = None, *, where: str | None = None) -> Rows:
        """Quantize rows of a weight.

        Where the inputs are always zero, they are quantized without data.

        Args:
            weight: float32 [N, K], a whole matrix or some of its rows.
            owed: R = E[r x'] of these rows, float32 [N, K]; None where nothing is lacking.
            where: name of the tensor, for errors.

        Raises:
            CheckpointError: a weight or a moment is not finite, or a weight is too large for a
                float16 scale.
        """
        if not np.isfinite(weight).all():
            raise CheckpointError("a weight is infinite or not a number", where=where, fix=DAMAGED)
        if owed is not None:
            check_activations(owed, where)
        if self._factor is None:
            return Rows(quantize(weight, self._precision, where=where), 0.0, 0.0)
        count, columns = weight.shape
        groups, symmetric = columns // self._size, self._precision.symmetric
        result = Quantized(
            self._precision,
            np.empty((count, columns), np.int8 if symmetric else np.uint8),
            np.empty((count, groups), np.float16),
            None if symmetric else np.empty((count, groups), np.uint8),
        )
        loss = energy = 0.0
        for start in range(0, count, CHUNK):
            here = slice(start, start + CHUNK)
            target = np.ascontiguousarray(weight[here].T)
            energy += self._factor.energy(target[self._factor.order])
            self._correct(target, None if owed is None else owed[here], self._factor)
            try:
                loss += self._quantize(target, self._factor, result, here)
            except CheckpointError as error:
                raise CheckpointError(error.what, where=where, fix=error.fix) from None
        return Rows(result, loss, energy)

    def _correct(self, target: Floats, owed: Floats | None, factor: Factor) -> None:
        """Turn the weights *target* [K, R] into what the quantized ones should be.

        H is damped here too, so the correction is small where the inputs tell little.
        """
        if self._drift is None and owed is None:
            return
        lacking = np.zeros_like(target) if self._drift is None else self._drift.T @ target
        if owed is not None:
            lacking += owed.T
        lacking = lacking[factor.order]
        factor.solve(lacking)
        target[factor.order] += lacking

    def _quantize(self, target: Floats, factor: Factor, result: Quantized, rows: slice) -> float:
        """Write *rows* of the result, for *target* [K, R]; return their loss."""
        steps = search(target, self._importance, self._grid, self._size)
        integers, gradient = nearest_plane(target, steps, factor, self._size)
        solution = Solution(target, integers, steps, self._second, gradient)
        losses = np.zeros(target.shape[1])
        for number in range(1, ROUNDS + 1):
            losses = solution.refit()
            losses += solution.descend(last=number == ROUNDS)
        points = self._grid.low - steps.lows
        codes = integers.reshape(len(points), self._size, -1) + points[:, None]
        result.codes[rows] = codes.reshape(target.shape).T
        result.scales[rows] = steps.scales.T
        if result.zero_points is not None:
            result.zero_points[rows] = points.T
        return float(np.maximum(losses, 0).sum())


def check_activations(moments: Floats, where: str | None) -> None:
    """Refuse activations or their moments, [N, K], that are not finite; without a copy of them.

    Raises:
        CheckpointError: with *where*.
    """
    for row in moments:
        if not np.isfinite(row).all():
            raise CheckpointError(
                "activations are infinite or not a number",
                where=where,
                fix="calibrate with other texts; if that does not help, " + DAMAGED,
            )
