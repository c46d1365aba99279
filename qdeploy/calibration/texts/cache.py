"""Keys and values of all layers in one file that is mapped into memory."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import GraphConfig
from qdeploy.forward.arithmetic import Floats, softmax

EXACT_BYTES = 256 * 2**20
"""A cache of up to this size is float32, as it needs no widening then; a larger one is bfloat16.

Models are trained with caches of bfloat16. Widening it is a shift, which took NumPy a ninth of the
time of float16's widening, and no key overflows.
"""
PIECE_ELEMENTS = 2**18
"""Keys that are widened at a time: 1 MiB of float32 fits into the CPU's cache."""


@dataclass(frozen=True)
class CacheShape:
    """The axes of a cache: [layers, keys and values, sequences, kv heads, positions, head_dim]."""

    axes: tuple[int, int, int, int, int, int]

    @classmethod
    def of(cls, config: GraphConfig, sequences: int, length: int) -> CacheShape:
        """Of *sequences* of *length* tokens."""
        return cls((config.layers, 2, sequences, config.kv_heads, length, config.head_dim))

    @property
    def is_exact(self) -> bool:
        """Whether it is float32."""
        return 4 * prod(self.axes) <= EXACT_BYTES

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return prod(self.axes) * (4 if self.is_exact else 2)

    def fits(self, file: Path) -> bool:
        """Whether *file* is there and of this size."""
        return file.is_file() and file.stat().st_size == self.bytes


class Cache:
    """The keys and values of a batch of sequences of equal lengths."""

    def __init__(self, file: Path, shape: CacheShape) -> None:
        """Map *file*, which is made unless it fits already.

        Raises:
            OSError: it cannot be made, e.g. as the disk is full.
        """
        if not shape.fits(file):
            _allocate(file, shape.bytes)
        kind = np.float32 if shape.is_exact else np.uint16
        self._mapped: np.memmap[tuple[int, ...], np.dtype[np.float32 | np.uint16]] = np.memmap(
            file, kind, "r+", shape=shape.axes
        )
        _, _, _, heads, positions, size = shape.axes
        self._step = max(1, PIECE_ELEMENTS // (heads * positions * size))

    def append(self, layer: int, position: int, key: Floats, value: Floats) -> None:
        """Store the keys and values, [sequences, kv heads, D], of one position of a layer."""
        for number, values in enumerate((key, value)):
            stored = values if self._mapped.dtype == np.float32 else _narrow(values)
            self._mapped[layer, number, :, :, position] = stored

    def attend(self, layer: int, position: int, query: Floats) -> Floats:
        """What queries, [sequences, heads, D], attend to up to *position*; of the same shape."""
        count, heads, size = query.shape
        out = np.empty_like(query)
        for start in range(0, count, self._step):
            part = slice(start, start + self._step)
            key, value = (
                _widen(np.asarray(self._mapped[layer, number, part, :, : position + 1]))
                for number in (0, 1)
            )
            asked = query[part].reshape(len(key), key.shape[1], -1, size)
            scores = asked @ key.swapaxes(-1, -2) / np.float32(np.sqrt(size))
            out[part] = (softmax(scores) @ value).reshape(-1, heads, size)
        return out

    def flush(self) -> None:
        """Write to the disk what has changed."""
        self._mapped.flush()


def _allocate(file: Path, size: int) -> None:
    """Make a file with room on the disk: writing to a mapped file would kill without it."""
    with file.open("wb") as out:
        if sys.platform == "linux":
            os.posix_fallocate(out.fileno(), 0, size)
        else:
            out.truncate(size)


def _narrow(x: Floats) -> NDArray[np.uint16]:
    """The nearest bfloat16, as bits; ties to even."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _widen(stored: NDArray[np.float32 | np.uint16]) -> Floats:
    if stored.dtype == np.float32:
        return stored.view(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)
