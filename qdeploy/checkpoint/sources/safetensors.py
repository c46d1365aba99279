"""One safetensors file, mapped into memory.

The `safetensors` library supports neither bfloat16 nor FP8 with NumPy, and it copies what it reads.
This module parses the header itself and validates it against the file:
https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import contextlib
import json
import mmap
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.checkpoint.headers import DTYPE_BITS
from qdeploy.checkpoint.recognition.damage import why_unreadable
from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES, widen
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import MAX_JSON_BYTES

LENGTH_BYTES = 8
"""The file starts with the length of the header, little-endian."""


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of the file: safetensors dtype, shape, and offset of its first byte."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_BITS[self.dtype] // 8

    def row_bytes(self, columns: int = 0) -> int:
        """Bytes of a row of *columns* elements; 0 is the tensor's own number of them."""
        return (columns or prod(self.shape[1:])) * DTYPE_BITS[self.dtype] // 8


class TensorFile:
    """The tensors of one file. Reading is thread-safe."""

    def __init__(self, path: Path) -> None:
        """Map *path* and read its header.

        Raises:
            CheckpointError: the file cannot be read, or is not a complete safetensors file.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})", where=path) from None
        except ValueError as error:  # an empty file cannot be mapped
            raise why_unreadable(path, error) from None
        try:
            self.tensors = _read_header(self._map)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise why_unreadable(path, error) from None

    def read(
        self, name: str, start: int, stop: int, out: NDArray[np.float32], *, columns: int = 0
    ) -> None:
        """Write rows *start* to *stop* of tensor *name* into *out*, float32 [stop - start, ...].

        *columns* sees the tensor as a matrix of so many columns; 0 is the tensor's own shape.
        """
        entry = self.tensors[name]
        first = entry.offset + start * entry.row_bytes(columns)
        raw = np.frombuffer(self._map, NUMPY_DTYPES[entry.dtype], out.size, first)
        widen(raw.reshape(out.shape), entry.dtype, out)

    def stored(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The elements of tensor *name* as they are stored, of the NumPy type *dtype*.

        The array is a read-only view of the mapped file; what is taken from it must be copied.
        """
        entry = self.tensors[name]
        count = prod(entry.shape)
        return np.frombuffer(self._map, dtype, count, entry.offset).reshape(entry.shape)

    def forget(
        self, name: str, start: int = 0, stop: int | None = None, *, columns: int = 0
    ) -> None:
        """Release the pages of these rows from this process; they stay in the system's page cache.

        Pages shared with other rows are kept. Without this, the resident memory of the process
        would grow by the size of the model as it is read. *columns*: see `read`.
        """
        if not hasattr(mmap, "MADV_DONTNEED"):  # Windows trims the working set by itself
            return
        entry = self.tensors[name]
        row = entry.row_bytes(columns)
        first = entry.offset + start * row
        last = entry.offset + (entry.nbytes if stop is None else stop * row)
        page = mmap.PAGESIZE
        first, last = -(-first // page) * page, last // page * page
        if first < last:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def close(self) -> None:
        """Unmap the file; it cannot be read afterwards."""
        with contextlib.suppress(BufferError):  # an array in a traceback may refer to the mapping
            self._map.close()


def _read_header(content: mmap.mmap) -> dict[str, TensorEntry]:
    """Parse the header.

    Raises:
        ValueError, KeyError, TypeError: the header is malformed, or the file is too short for it.
    """
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    begin = LENGTH_BYTES + length
    if begin > len(content) or length > MAX_JSON_BYTES:
        raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
    header = json.loads(content[LENGTH_BYTES:begin])
    if not isinstance(header, dict):
        raise TypeError("the header is not a JSON object")
    header.pop("__metadata__", None)
    return {name: _entry(name, fields, begin, len(content)) for name, fields in header.items()}


def _entry(name: str, fields: dict[str, Any], begin: int, end: int) -> TensorEntry:
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    first, last = offsets
    numbers = [*shape, first, last]
    if not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise ValueError(f"tensor {name!r}: shape and offsets {numbers} are not all counts")
    if dtype not in DTYPE_BITS:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if last - first != prod(shape) * DTYPE_BITS[dtype] // 8:
        raise ValueError(f"tensor {name!r}: {dtype} {shape} does not take {last - first} bytes")
    if begin + last > end:
        raise ValueError(f"tensor {name!r} ends {begin + last - end} bytes after the file")
    return TensorEntry(dtype, tuple(shape), begin + first)
