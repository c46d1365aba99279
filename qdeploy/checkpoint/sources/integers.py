"""Matrices of small integers as quantized checkpoints store them: bytes, or several in a word.

The layouts differ in three things: which way round the matrix is stored, along which of its axes
integers share a word, and in which order they lie there. All words are little-endian, so that the
integers of a word that holds them in order lie in the order of its bytes, low half first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qdeploy.checkpoint.headers import DTYPE_BITS, TensorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.sources.base import Files

WORDS = {"I8": "<u1", "U8": "<u1", "I16": "<u2", "I32": "<u4", "U32": "<u4", "I64": "<u8"}
"""NumPy's unsigned type of the same size, by safetensors' type of integers."""
Axis = Literal["rows", "columns"]


@dataclass(frozen=True)
class Integers:
    """A matrix [rows, columns] of unsigned integers of four or eight bits.

    Attributes:
        packed: the axis along which integers share a word; None where each has a byte of its own.
        transposed: stored as [columns, rows].
        order: for each integer of a word, its place there, counted from the lowest bits; empty is
            in order.
        signed: stored in two's complement; they are read in offset binary, as 2^(bits-1) more.
        added: is added to each word, modulo its size, before integers are taken out of it.
    """

    tensor: TensorInfo
    bits: int
    rows: int
    columns: int
    packed: Axis | None = None
    transposed: bool = False
    order: tuple[int, ...] = ()
    signed: bool = False
    added: int = 0

    @property
    def per_word(self) -> int:
        """Integers of a word."""
        return DTYPE_BITS[self.tensor.dtype] // self.bits if self.packed else 1

    def why_not(self) -> str | None:
        """Why they cannot be read, as the end of a sentence about them; or None."""
        if self.tensor.dtype not in WORDS:
            return f"are of type {self.tensor.dtype}"
        if self.tensor.shape != self._stored_shape:
            return f"are {list(self.tensor.shape)}, not {list(self._stored_shape)}"
        return None

    def read(self, files: Files, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows *start* to *stop*, uint8 [stop - start, columns]."""
        import numpy as np

        words = files[self.tensor.file].stored(self.tensor.name, np.dtype(WORDS[self.tensor.dtype]))
        if self.transposed:
            words = words.T
        if self.packed == "rows":
            first, last = start // self.per_word, -(-stop // self.per_word)
            along = self._unpack(words[first:last].T)
            skipped = start - first * self.per_word
            found = along[:, skipped : skipped + stop - start].T
        elif self.packed == "columns":
            found = self._unpack(words[start:stop])[:, : self.columns]
        else:
            found = np.ascontiguousarray(words[start:stop])
        return found ^ np.uint8(1 << (self.bits - 1)) if self.signed else found

    @property
    def _stored_shape(self) -> tuple[int, int]:
        rows, columns = self.rows, self.columns
        if self.packed == "rows":
            rows = -(-rows // self.per_word)
        elif self.packed == "columns":
            columns = -(-columns // self.per_word)
        return (columns, rows) if self.transposed else (rows, columns)

    def _unpack(self, words: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The integers of words [A, B] in order, uint8 [A, B * per_word]."""
        import numpy as np

        packed = np.ascontiguousarray(words)
        if self.added:
            packed = packed + packed.dtype.type(self.added)
        found = packed.view(np.uint8)
        if self.bits == 4:
            halves = np.empty((*found.shape, 2), np.uint8)
            np.bitwise_and(found, 15, out=halves[..., 0])
            np.right_shift(found, 4, out=halves[..., 1])
            found = halves.reshape(len(found), -1)
        if self.order:
            by_word = found.reshape(len(found), -1, self.per_word)
            found = by_word[..., list(self.order)].reshape(len(found), -1)
        return found
