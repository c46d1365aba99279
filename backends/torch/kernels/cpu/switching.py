"""A weight that is multiplied in one of two ways, by the number of rows of the inputs.

torch's operators for integer weights convert each weight again for every four rows or so. For many
rows it is faster to dequantize the weight once, tile by tile, and to use bfloat16's matrix product.
Where the one overtakes the other depends on the processor and its threads, so it is measured.
"""

from __future__ import annotations

import math
import sys
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Layer

if TYPE_CHECKING:
    Tensor = Any

TILE = 1 << 22
"""Elements of a weight that are dequantized at a time: 8 MB of bfloat16 stay in a cache."""
USUAL = 64
"""Rows where the two ways took equal time on AMD Zen 5, see docs/torch.md."""
FEWEST, MOST = 8, 512
ALL = sys.maxsize
MEASURABLE = 1 << 20
"""Elements of the smallest weight that is timed: a smaller one takes a fraction of a millisecond,
of which other processes' turns may be the larger part."""
MEASURED = (32, 96)
"""Rows of the inputs that are timed."""
REPEATS = 3


class Switch:
    """Up to how many rows the operator is used, for all layers of one kernel.

    Attributes:
        rows: that number; the usual one until it is settled.
    """

    def __init__(self) -> None:
        self.rows = USUAL
        self._typical: Switching | None = None

    def offer(self, layer: Switching) -> None:
        """Remember the layer whose size is nearest to a tile's, to measure with."""
        held = self._typical
        if held is None or abs(layer.elements - TILE) < abs(held.elements - TILE):
            self._typical = layer
        if not layer.has_both:
            self.rows = ALL

    def settle(self, rows: int | None) -> str:
        """Use the operator up to so many *rows*, or up to where it was measured to be faster.

        With small weights only, the usual number stays.

        Returns:
            What was settled, in words that follow the operator's name; empty without layers.
        """
        layer, self._typical = self._typical, None
        if layer is None:
            return ""
        if not layer.has_both:
            return "for any number of rows, since its packing has an unknown layout"
        if rows is not None:
            self.rows = rows
        elif layer.elements >= MEASURABLE:
            self.rows = _crossing(layer)
        return f"up to {self.rows} rows, and bfloat16's product above"


class Switching(Layer):
    """A layer with both ways.

    Args:
        columns: K.
    """

    def __init__(self, rows: int, columns: int, switch: Switch) -> None:
        self.rows, self._columns, self._switch = rows, columns, switch

    @property
    def has_both(self) -> bool:
        """Whether it can be dequantized; otherwise the operator multiplies any number of rows."""
        return True

    def __call__(self, x: Tensor) -> Tensor:
        return self.operator(x) if x.shape[0] <= self._switch.rows else self.dequantized(x)

    @property
    def elements(self) -> int:
        return self.rows * self._columns

    @abstractmethod
    def operator(self, x: Tensor) -> Tensor:
        """Multiply by torch's operator."""

    @abstractmethod
    def dequantized(self, x: Tensor) -> Tensor:
        """Multiply by the dequantized weight."""

    def inputs(self, count: int) -> Tensor:
        """Inputs [count, K] to measure with."""
        import torch

        return torch.ones(count, self._columns, dtype=torch.bfloat16)


def _crossing(layer: Switching) -> int:
    """Where the times of both ways, as straight lines through two measured points, are equal.

    It takes some tens of milliseconds. The number is rounded to a power of two: the same request
    should be computed in the same way at most loads, and no two measurements are equal.
    """
    few, many = MEASURED
    operator, dense = (
        [_seconds(way, layer.inputs(rows)) for rows in MEASURED]
        for way in (layer.operator, layer.dequantized)
    )
    slower = ((operator[1] - operator[0]) - (dense[1] - dense[0])) / (many - few)
    if slower <= 0:
        return MOST
    crossing = few + (dense[0] - operator[0]) / slower
    return 1 << round(math.log2(min(max(crossing, FEWEST), MOST)))


def _seconds(multiply: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The least time of some calls; the first one, which prepares, is not counted."""
    multiply(x)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        multiply(x)
        times.append(time.perf_counter() - start)
    return min(times)
