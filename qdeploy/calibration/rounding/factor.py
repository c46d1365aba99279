"""The damped second moments of a layer's inputs as a product of triangular matrices.

H + damping * I = U U' with U upper triangular, columns and rows in descending order of H's
diagonal. U is computed from the last block of columns to the first (a Cholesky factorization of
the matrix turned by 180 degrees), in place of a copy of H. Only diagonal blocks go through LAPACK;
all else is matrix multiplication, so that one more matrix [K, K] is all the memory it takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qdeploy.errors import CheckpointError
from qdeploy.quantization.rounding import Floats

DAMPING = 0.1
"""Damping as a share of the mean of H's diagonal. It bounds the condition number by 10 K, and is
what keeps the result from fitting the calibration texts alone."""
BLOCK = 128
"""Columns of a block."""
ATTEMPTS = 4
"""Times that the damping is raised tenfold, where float32 finds a matrix not positive definite."""


class Factor:
    """U of the damped H, and products with it. Matrices [K, R] are in its order of columns.

    Attributes:
        order: the columns of H, by descending diagonal, [K].
        upper: U, [K, K]. Below the diagonal blocks is what does not belong to it.
        diagonal: U's diagonal, [K].
        damping: what was added to H's diagonal.
    """

    def __init__(self, second: Floats, *, where: str | None = None) -> None:
        """Factor *second*, H [K, K], which is not all zero.

        Raises:
            CheckpointError: H is far from positive semidefinite.
        """
        diagonal = second.diagonal()
        self.order: NDArray[np.intp] = np.argsort(-diagonal, kind="stable")
        self.upper = np.empty_like(second)
        self.inverses: list[Floats] = []
        self.damping = DAMPING * float(diagonal.mean(dtype=np.float64))
        for _ in range(ATTEMPTS):
            try:
                self._factor(second)
            except np.linalg.LinAlgError:
                self.damping *= 10
            else:
                self.diagonal: Floats = self.upper.diagonal().copy()
                return
        raise CheckpointError(
            "the second moments of the inputs are not positive definite",
            where=where,
            fix="calibrate with other or more texts; if that does not help, the checkpoint is "
            "damaged",
        )

    def _factor(self, second: Floats) -> None:
        upper, columns = self.upper, len(second)
        for start in range(0, columns, BLOCK):
            rows = self.order[start : start + BLOCK]
            np.take(second[rows], self.order, axis=1, out=upper[start : start + BLOCK])
        upper[np.diag_indices(columns)] += np.float32(self.damping)
        inverses = []
        for block in reversed(list(self.blocks())):
            panel = upper[: block.stop, block]
            panel -= upper[: block.stop, block.stop :] @ upper[block, block.stop :].T
            turned = panel[block.start :][::-1, ::-1].astype(np.float64)
            corner = np.linalg.cholesky(turned)[::-1, ::-1]
            inverse = np.linalg.inv(corner).astype(np.float32)
            panel[block.start :] = corner
            panel[: block.start] = panel[: block.start] @ inverse.T
            inverses.append(inverse)
        self.inverses = inverses[::-1]

    def blocks(self) -> Iterator[slice]:
        """Slices of the columns, in order."""
        columns = len(self.upper)
        for start in range(0, columns, BLOCK):
            yield slice(start, min(start + BLOCK, columns))

    def solve(self, x: Floats) -> None:
        """Replace *x* [K, R] by (U U')^-1 x."""
        numbered = list(zip(self.blocks(), self.inverses, strict=True))
        for block, inverse in reversed(numbered):
            x[block] -= self.upper[block, block.stop :] @ x[block.stop :]
            x[block] = inverse @ x[block]
        for block, inverse in numbered:
            x[block] -= self.upper[: block.start, block].T @ x[: block.start]
            x[block] = inverse.T @ x[block]

    def complete(self, product: Floats, x: Floats) -> None:
        """Replace *product*, U' x, by H x without the damping; *x* is [K, R]."""
        for block in self.blocks():  # each needs itself and those after it alone
            product[block] = self.upper[block, block.start :] @ product[block.start :]
            product[block] -= np.float32(self.damping) * x[block]

    def energy(self, x: Floats) -> float:
        """Compute the sum over the columns v of *x* [K, R] of v' H v, without the damping."""
        total = 0.0
        for block in self.blocks():
            product = self.upper[: block.stop, block].T @ x[: block.stop]
            total += float(np.square(product).sum(dtype=np.float64))
            total -= self.damping * float(np.square(x[block]).sum(dtype=np.float64))
        return max(total, 0.0)
