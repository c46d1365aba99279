"""One factor of a low-rank update: a matrix, as it lies in a tensor of the adapter's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.errors import InputError

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats


def _all() -> slice:
    return slice(None)


@dataclass(frozen=True)
class Factor:
    """Some rows and columns of a tensor [R, C], as they are or transposed.

    Attributes:
        rows, columns: which, of the tensor as it is stored.
        transposed: whether the matrix is their transpose.
    """

    tensor: TensorInfo
    rows: slice = field(default_factory=_all)
    columns: slice = field(default_factory=_all)
    transposed: bool = False

    def read(self, files: Files, start: int = 0, stop: int | None = None) -> Floats:
        """Rows *start* to *stop* of the matrix, a new float32 array.

        Raises:
            InputError: a value is infinite or not a number; the error names the tensor.
        """
        import numpy as np

        from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES, widen

        file, (name, dtype) = files[self.tensor.file], (self.tensor.name, self.tensor.dtype)
        stored = file.stored(name, NUMPY_DTYPES[dtype])[self.rows, self.columns]
        chosen = (stored.T if self.transposed else stored)[start:stop]
        values = np.empty(chosen.shape, np.float32)
        widen(chosen, dtype, values)
        if not np.isfinite(values).all():
            raise InputError(
                f"tensor {name!r} holds a value that is infinite or not a number", where=file.path
            )
        return values
