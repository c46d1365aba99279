"""Buffers for work on many groups of weights, a tile of them at a time.

A step of NumPy's goes over all that it is given before the next begins. In tiles, what one step
leaves is still in the processor's cache for the next; without, every step would go through memory
and take several times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

TILE = 2**17
"""Weights of a tile, 0.5 MiB a buffer. In smaller ones threads wait for the interpreter more often:
it is theirs between the steps."""
BUFFERS = 2


class Workspace:
    """Float32 buffers of one tile each."""

    def __init__(self, groups: int, size: int) -> None:
        """For up to *groups* groups of *size* weights."""
        self._step = max(1, TILE // size)
        self._buffers = np.empty((BUFFERS, min(self._step, groups), size), np.float32)

    def tiles(self, groups: int) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
        """Yield slices of so many groups, each with the buffers cut to it: [tile, size]."""
        for start in range(0, groups, self._step):
            stop = min(start + self._step, groups)
            yield slice(start, stop), list(self._buffers[:, : stop - start])
