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

Pair = tuple[TensorInfo, TensorInfo]

BLOCK_ELEMENTS = 2**20
"""Elements compared at a time."""
FEW_ELEMENTS = 2**10
"""Elements at each end that tell two different models apart, though they prove none equal."""


def same_values(folder: Path, pairs: tuple[Pair, ...], *, few: bool = False) -> bool:
    """Whether both tensors of each pair, in files of *folder*, are equal in shape and values.

    Equal tensors are read to their end, different ones to the first block that differs. *few*: only
    the first and the last few elements are compared.

    Raises:
        CheckpointError: a file cannot be read.
    """
    if any(one.shape != other.shape for one, other in pairs):
        return False
    files = sorted({tensor.file for pair in pairs for tensor in pair})
    return _same(folder, pairs, few, tuple(_stamp(folder / file) for file in files))


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return path.name, 0, 0  # opening it says why
    return path.name, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _same(
    folder: Path, pairs: tuple[Pair, ...], few: bool, stamps: tuple[tuple[str, int, int], ...]
) -> bool:
    """Results are kept while the files are what they were: an export asks several times."""
    from qdeploy.checkpoint.sources.safetensors import TensorFile

    with ExitStack() as opened:
        files = {}
        for name, _, _ in stamps:
            files[name] = TensorFile(folder / name)
            opened.callback(files[name].close)
        return all(_same_pair([(files[t.file], t) for t in pair], few=few) for pair in pairs)


def _same_pair(sides: list[Side], *, few: bool) -> bool:
    from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES

    (_, one), (_, other) = sides
    if {one.dtype, other.dtype} <= NUMPY_DTYPES.keys():
        return all(_same_floats(sides, *block) for block in _blocks(one.numel, few=few))
    return one.dtype == other.dtype and _same_bits(sides)


def _blocks(elements: int, *, few: bool) -> Iterator[tuple[int, int]]:
    """First and last element, exclusive, of each block to compare."""
    if few and elements > 2 * FEW_ELEMENTS:
        yield from ((0, FEW_ELEMENTS), (elements - FEW_ELEMENTS, elements))
        return
    for first in range(0, elements, BLOCK_ELEMENTS):
        yield first, min(first + BLOCK_ELEMENTS, elements)


def _same_floats(sides: list[Side], first: int, last: int) -> bool:
    """Compare the bits of equal types, and only what differs by value: 0 is equal to -0."""
    import numpy as np

    from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES

    one, other = (
        file.stored(tensor.name, NUMPY_DTYPES[tensor.dtype]).reshape(-1)[first:last]
        for file, tensor in sides
    )
    same = sides[0][1].dtype == sides[1][1].dtype and np.array_equal(one, other)
    if not same:
        values = np.empty((2, last - first, 1), np.float32)
        for (file, tensor), out in zip(sides, values, strict=True):
            file.read(tensor.name, first, last, out, columns=1)
        same = np.array_equal(*values)
    for file, tensor in sides:
        file.forget(tensor.name, first, last, columns=1)
    return same


def _same_bits(sides: list[Side]) -> bool:
    import numpy as np

    bits = DTYPE_BITS[sides[0][1].dtype]
    if bits < 8:  # NumPy has no element of half a byte
        return False
    one, other = (file.stored(tensor.name, np.dtype(f"u{bits // 8}")) for file, tensor in sides)
    return np.array_equal(one, other)
