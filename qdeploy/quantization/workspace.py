"""Buffers for work on many groups of weights, one tile at a time.

A NumPy operation processes its whole input before the next one starts. With tiles, the result of
one operation is still in the processor's cache for the next; otherwise each would read memory and
take several times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

TILE = 2**17
"""Weights of a tile, 0.5 MiB a buffer. With smaller tiles, threads wait more often for the GIL,
which they hold between operations."""
BUFFERS = 2


class Workspace:
    """Float32 buffers of one tile each."""

    def __init__(self, groups: int, size: int) -> None:
        """For up to *groups* groups of *size* weights."""
        self._step = max(1, TILE // size)
        self._buffers = np.empty((BUFFERS, min(self._step, groups), size), np.float32)

    def tiles(self, groups: int) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
        """Yield slices of *groups* groups, each with the buffers cut to its size: [tile, size]."""
        for start in range(0, groups, self._step):
            stop = min(start + self._step, groups)
            yield slice(start, stop), list(self._buffers[:, : stop - start])
