"""Arrays of a value for each token: in memory where they are small, else in a temporary file.

A layer's activations of all tokens take gigabytes in large models. The pages of a file are written
and read back by the system as memory allows, so anonymous memory stays small.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qdeploy.system.in_order import in_order

Floats = NDArray[np.float32]
Item = TypeVar("Item")

IN_MEMORY_BYTES = 32 * 2**20
"""Larger arrays are in files."""
PART_ELEMENTS = 2**20
"""Elements of a part of an array's rows: 4 MiB of float32."""


@dataclass(frozen=True)
class Arrays:
    """Where arrays are made, and the threads that fill them.

    Attributes:
        folder: on a disk with room for them.
    """

    folder: Path

    def empty(self, rows: int, columns: int) -> Floats:
        """An array, float32 [rows, columns]; its file is gone as soon as it is not used."""
        if 4 * rows * columns <= IN_MEMORY_BYTES:
            return np.empty((rows, columns), np.float32)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.asarray(np.memmap(file, np.float32, "w+", shape=(rows, columns)))


@dataclass(frozen=True, eq=False)
class Pair:
    """The same activations in the float model and in the quantized one, float32 [T, K] each."""

    exact: Floats
    rounded: Floats

    @property
    def both(self) -> tuple[Floats, Floats]:
        return self.exact, self.rounded


def spans(rows: int, columns: int) -> Iterator[slice]:
    """Split rows into slices of about `PART_ELEMENTS` elements."""
    step = max(1, PART_ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def run(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call *work* with each item, on as many threads as this process may use.

    Items must not depend on one another, so the number of threads changes no result.
    """
    for _ in in_order(work, items):
        pass
