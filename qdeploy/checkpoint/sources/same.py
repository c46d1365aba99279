"""Whether two stored tensors hold the same values, read until the first difference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import DTYPE_BITS, TensorInfo

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.safetensors import TensorFile

    Side = tuple[TensorFile, TensorInfo]

BLOCK_ELEMENTS = 2**20
"""Elements compared at a time."""
FEW_ELEMENTS = 2**10
"""Elements that tell two different weights apart, though they do not prove two equal."""


def same_values(folder: Path, one: TensorInfo, other: TensorInfo, *, few: bool = False) -> bool:
    """Whether two tensors of the files in *folder* are equal in shape and in every value.

    Equal tensors are read to their end, different ones to the first block that differs. *few*: only
    the first few elements are compared.

    Raises:
        CheckpointError: a file cannot be read.
    """
    if one.shape != other.shape:
        return False
    return _same(folder, one, other, few, tuple(_stamp(folder / t.file) for t in (one, other)))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0  # opening it says why
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _same(folder: Path, one: TensorInfo, other: TensorInfo, few: bool, _stamps: object) -> bool:
    """Results are kept while the files are what they were: an export asks several times."""
    from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES
    from qdeploy.checkpoint.sources.safetensors import TensorFile

    with ExitStack() as opened:
        sides = []
        for tensor in (one, other):
            file = TensorFile(folder / tensor.file)
            opened.callback(file.close)
            sides.append((file, tensor))
        if {one.dtype, other.dtype} <= NUMPY_DTYPES.keys():
            count = min(one.numel, FEW_ELEMENTS) if few else one.numel
            return all(_same_floats(sides, *block) for block in _blocks(count))
        return one.dtype == other.dtype and _same_bits(sides)


def _blocks(elements: int) -> Iterator[tuple[int, int]]:
    """First and last element, exclusive, of each block."""
    for first in range(0, elements, BLOCK_ELEMENTS):
        yield first, min(first + BLOCK_ELEMENTS, elements)


def _same_floats(sides: list[Side], first: int, last: int) -> bool:
    import numpy as np

    values = np.empty((2, last - first, 1), np.float32)
    for (file, tensor), out in zip(sides, values, strict=True):
        file.read(tensor.name, first, last, out, columns=1)
        file.forget(tensor.name, first, last, columns=1)
    return np.array_equal(*values)


def _same_bits(sides: list[Side]) -> bool:
    import numpy as np

    bits = DTYPE_BITS[sides[0][1].dtype]
    if bits < 8:  # NumPy has no element of half a byte
        return False
    one, other = (file.stored(tensor.name, np.dtype(f"u{bits // 8}")) for file, tensor in sides)
    return np.array_equal(one, other)
