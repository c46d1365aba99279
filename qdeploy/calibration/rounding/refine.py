"""Scales again for given integers, and integers again for given scales.

Both lower the loss of each row, e H e' with e = target - result and H without damping, and neither
ever raises it. For given integers p the loss is a quadratic function of the scales of all groups of
a row together, so the best ones solve a system of equations. For given scales the integers are
visited column by column, each taking its best value with all others fixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.calibration.rounding.grid import Steps
from qdeploy.quantization.rounding import Floats, to_half

Doubles = NDArray[np.float64]

RIDGE = 1e-5
"""What is added to the systems' diagonals, as a share of their mean: float32 sums have errors of
that order, and scales then change little where the loss hardly depends on them."""
BLOCK = 128
INNER = 16
"""As in `feedback`."""
TILE = 2**17
"""Numbers of a product that is used up while in cache."""
SYSTEMS = 2**24
"""Most coefficients of the systems of equations that are held at a time."""
SOLVED = 2**20
"""Most coefficients of the systems that are solved at a time, in float64."""


class Solution:
    """A result for some rows that becomes better; matrices are transposed.

    Attributes:
        target: [K, R].
        integers: p = code - zero point, [K, R].
        steps: of groups of K / G columns.
        errors: e = target - result, [K, R].
        gradient: H e, [K, R], as of the last call of `descend`.
    """

    def __init__(
        self, target: Floats, integers: Floats, steps: Steps, second: Floats, gradient: Floats
    ) -> None:
        self.target, self.integers, self.steps = target, integers, steps
        self.second, self.gradient = second, gradient
        self.groups = len(steps.scales)
        self.size = len(target) // self.groups
        self.errors = np.empty_like(target)
        self._subtract()

    def _subtract(self) -> None:
        shape = (self.groups, self.size, -1)
        result = self.errors.reshape(shape)
        np.multiply(self.integers.reshape(shape), self.steps.scales[:, None], out=result)
        np.subtract(self.target, self.errors, out=self.errors)

    # --- scales ------------------------------------------------------------------------------

    def refit(self) -> Doubles:
        """Replace the scales of each row where that lowers its loss; return the losses, [R]."""
        losses, slopes = self._slopes()
        rows = self.errors.shape[1]
        step = max(1, SYSTEMS // self.groups**2)
        for start in range(0, rows, step):
            here = slice(start, start + step)
            losses[here] += self._refit(here, slopes[:, here])
        self._subtract()
        return losses

    def _slopes(self) -> tuple[Doubles, Floats]:
        """The losses e H e', [R], and p' H e of each group, [G, R]."""
        rows = self.errors.shape[1]
        losses, slopes = np.zeros(rows), np.zeros((self.groups, rows), np.float32)
        width = min(self.size, BLOCK)
        for start in range(0, len(self.errors), width):
            group = start // self.size
            here = slice(start, min(start + width, (group + 1) * self.size))
            slopes[group] += (self.gradient[here] * self.integers[here]).sum(axis=0)
            losses += (self.gradient[here] * self.errors[here]).sum(axis=0)
        return losses, slopes

    def _refit(self, rows: slice, slopes: Floats) -> Doubles:
        """Replace scales of *rows*; return how much each loss changes."""
        systems = self._systems(np.ascontiguousarray(self.integers[:, rows]))
        scales = self.steps.scales[:, rows]
        changes = np.zeros(scales.shape[1])
        step = max(1, SOLVED // self.groups**2)
        for start in range(0, len(changes), step):
            some = slice(start, start + step)
            matrices = systems[:, :, some].transpose(2, 0, 1).astype(np.float64)
            right = slopes[:, some].T.astype(np.float64)
            old = scales[:, some].T
            new = _valid(old + _solve(matrices, right), old)
            move = new.astype(np.float64) - old
            change = np.einsum("rg,rg->r", move, (matrices @ move[..., None])[..., 0] - 2 * right)
            lower = change < 0
            scales[:, some] = np.where(lower, new.T, old.T)
            changes[some] = np.where(lower, change, 0)
        return changes

    def _systems(self, integers: Floats) -> Floats:
        """P' H P of each row, [G, G, R]: the sums over pairs of groups of p_i H_ij p_j."""
        rows = integers.shape[1]
        result = np.zeros((self.groups, self.groups, rows), np.float32)
        most = max(1, TILE // rows)
        width = min(most, self.size) if most < self.size else most // self.size * self.size
        for a in range(self.groups):
            group = slice(a * self.size, (a + 1) * self.size)
            for start in range(0, group.stop, width):
                # a tile is some whole groups, or a part of one
                end = group.stop
                if width < self.size:
                    end = (start // self.size + 1) * self.size
                tile = slice(start, min(start + width, end))
                product = self.second[tile, group] @ integers[group]
                product *= integers[tile]
                count = max(1, (tile.stop - start) // self.size)
                b = slice(start // self.size, start // self.size + count)
                result[a, b] += product.reshape(count, -1, rows).sum(axis=1)
            result[:a, a] = result[a, :a]
        return result

    # --- integers ----------------------------------------------------------------------------

    def descend(self, *, last: bool) -> Doubles:
        """Visit the integers of all columns once; return how much each row's loss changes, [R].

        The *last* time, the gradient is not brought up to date.
        """
        changes = np.zeros(self.errors.shape[1])
        moves = np.empty_like(self.errors)
        inverses = self.steps.inverses
        blocks = [slice(i, min(i + BLOCK, len(moves))) for i in range(0, len(moves), BLOCK)]
        for block in blocks:
            changes += self._descend(block, moves[block], inverses)
        for block in blocks if not last else ():
            # of the moves before it, each block knew
            self.gradient[block] += self.second[block, block.start :] @ moves[block.start :]
        return changes

    def _descend(self, block: slice, moves: Floats, inverses: Floats) -> Doubles:
        """Visit a block of columns; return how much each row's loss changes."""
        gradient = np.matmul(self.second[block], self.errors, out=self.gradient[block])
        square = self.second[block, block]
        diagonal = square.diagonal()
        # an input that is always zero has no gradient either
        inverse = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
        within = square * inverse[:, None]
        wanted = gradient * inverse[:, None]
        integers = self.integers[block]
        for start in range(0, len(moves), INNER):
            inner = slice(start, start + INNER)
            wanted[inner] += within[inner, :start] @ moves[:start]
            self._visit(
                block.start + start, wanted[inner], within[inner, inner], moves[inner],
                integers[inner], inverses,
            )  # fmt: skip
        self.errors[block] += moves
        change = square @ moves
        change += 2 * gradient
        change *= moves
        return change.sum(axis=0, dtype=np.float64)  # type: ignore[no-any-return]

    def _visit(
        self, first: int, wanted: Floats, within: Floats, moves: Floats, integers: Floats,
        inverses: Floats,
    ) -> None:  # fmt: skip
        """Visit a few columns from *first* on, one after the other.

        *wanted* are what would be best to subtract of their errors, before they move each other;
        *moves* receives what is added.
        """
        scales, lows, highs = self.steps
        buffer = np.empty(wanted.shape[1], np.float32)
        for j, (best, move, p) in enumerate(zip(wanted, moves, integers, strict=True)):
            group = (first + j) // self.size
            if j:
                np.dot(within[j, :j], moves[:j], out=buffer)
                np.add(best, buffer, out=best)
            np.multiply(best, inverses[group], out=buffer)
            np.add(buffer, p, out=buffer)
            np.rint(buffer, out=buffer)
            np.maximum(buffer, lows[group], out=buffer)
            np.minimum(buffer, highs[group], out=buffer)
            np.subtract(p, buffer, out=move)
            np.copyto(p, buffer)
            np.multiply(move, scales[group], out=move)


def _solve(matrices: Doubles, right: Doubles) -> Doubles:
    """Solve [R, G, G] x = [R, G] with a small ridge; zeros where that fails."""
    groups = matrices.shape[-1]
    mean = np.einsum("rgg->r", matrices)[:, None] / groups
    ridge = np.where(mean > 0, RIDGE * mean, 1)
    regular = matrices.copy()
    regular[:, np.arange(groups), np.arange(groups)] += ridge
    try:
        return np.asarray(np.linalg.solve(regular, right[..., None])[..., 0], np.float64)
    except np.linalg.LinAlgError:
        return np.zeros_like(right)


def _valid(found: Doubles, old: Floats) -> Floats:
    """Round scales to float16; the old ones where that is zero, infinite or of another sign."""
    with np.errstate(over="ignore", invalid="ignore"):
        halves = to_half(found.astype(np.float32))
        good = np.isfinite(halves) & (halves * old > 0) & (found * old > 0)
    return np.where(good, halves, old)
