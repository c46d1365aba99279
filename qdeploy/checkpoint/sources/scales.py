"""The scales of a matrix of integer codes, in each layout that they are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.plain import FLOATS

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats


@dataclass(frozen=True)
class Scales:
    """One scale for each group of a row, stored as [N, G], or as [G, N] where *transposed*.

    A tensor with one scale for each row, [N] or [N, 1], or one for all of them, is repeated.

    Attributes:
        divisor: they are divided by it.
    """

    tensor: TensorInfo
    rows: int
    groups: int
    transposed: bool = False
    divisor: float = 1.0

    def why_not(self) -> str | None:
        """Why they cannot be read, as the end of a sentence about them; or None."""
        shape = self.tensor.shape
        wanted = (self.groups, self.rows) if self.transposed else (self.rows, self.groups)
        shorter = ((self.rows,), (), (1,), (1, 1)) if self.groups == 1 else ()
        if self.tensor.dtype not in FLOATS:
            return f"are of type {self.tensor.dtype}"
        if shape != wanted and shape not in shorter:
            return f"are {list(shape)}, not {list(wanted)}"
        return None

    def read(self, files: Files, start: int, stop: int) -> Floats:
        """Of rows *start* to *stop*, float32 [stop - start, G]."""
        import numpy as np

        from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES, widen

        dtype = self.tensor.dtype
        every = files[self.tensor.file].stored(self.tensor.name, NUMPY_DTYPES[dtype])
        if self.tensor.numel == 1:
            rows = np.broadcast_to(every.reshape(1, 1), (stop - start, 1))
        elif self.transposed:
            rows = every[:, start:stop].T
        else:
            rows = every.reshape(self.rows, self.groups)[start:stop]
        found = np.empty(rows.shape, np.float32)
        widen(rows, dtype, found)
        if self.divisor != 1:
            found /= np.float32(self.divisor)
        return found
