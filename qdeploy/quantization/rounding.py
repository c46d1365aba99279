"""The integer grid of a precision, and plain quantization from the range of each group.

The conventions are NNCF's (`weight_compression/weight_lowering.py`, 3.4), which its runtimes
support: w ~ (code - zero point) * scale. There is one difference. NNCF rounds weights by a float32
scale and then stores the scale as float16; here the scale is rounded to float16 first, and codes
are the nearest ones for the scale that the runtime uses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdeploy.errors import CheckpointError
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.workspace import Workspace

Floats = NDArray[np.float32]

SMALLEST_NORMAL = np.float32(2**-14)
"""Below this, float16 is subnormal and loses digits."""
DAMAGED = (
    "give another checkpoint, e.g. of an earlier step: its training or a merge made it so, or the "
    "file has changed since (then its sha256 is not its maker's)"
)


class Grid(NamedTuple):
    """The range of codes: *low* to *high*, both included."""

    low: np.float32
    high: np.float32
    symmetric: bool

    @classmethod
    def of(cls, precision: Precision) -> Grid:
        levels = 2**precision.bits
        low = -levels // 2 if precision.symmetric else 0
        return cls(np.float32(low), np.float32(low + levels - 1), precision.symmetric)


class Parameters(NamedTuple):
    """Scale and zero point of each group.

    Attributes:
        scales: [groups, 1], float32 values that float16 represents exactly.
        zero_points: [groups, 1], integers within the grid; None where symmetric.
    """

    scales: Floats
    zero_points: Floats | None


class Ends(NamedTuple):
    """The range of each group of weights: vectors [groups, 1]."""

    lowest: Floats
    highest: Floats

    @classmethod
    def of(cls, groups: Floats) -> Ends:
        """The range of weights [groups, size]; NaN for a group that has one.

        Uses `argmin` and `argmax`, which on rows as short as a group take a quarter of the time of
        `min` and `max`.
        """
        rows = np.arange(len(groups))
        lowest, highest = groups.argmin(axis=1), groups.argmax(axis=1)
        return cls(groups[rows, lowest, None], groups[rows, highest, None])


def plain(ends: Ends, grid: Grid) -> Parameters:
    """Parameters that span the range of each group of weights.

    Asymmetric: zero and both ends of the range lie within the grid. Symmetric: the weight of
    largest magnitude gets the lowest code, which has no positive counterpart, so the scale is
    negative where that weight is positive. A group of zeros gets the scale 1.

    Raises:
        CheckpointError: a weight is not finite, or too large for a float16 scale.
    """
    lowest, highest = ends
    if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        raise CheckpointError("a weight is infinite or not a number", fix=DAMAGED)
    with np.errstate(over="ignore"):
        if grid.symmetric:
            largest = np.where(-lowest >= highest, lowest, highest)
            scales = to_half(np.divide(largest, grid.low, dtype=np.float32))
        else:
            lowest = np.minimum(lowest, 0)
            span = np.maximum(highest, 0) - lowest
            scales = to_half(np.divide(span, grid.high - grid.low, dtype=np.float32))
    if not np.isfinite(scales).all():
        magnitude = np.maximum(highest, -lowest).max()
        raise CheckpointError(
            f"a weight of magnitude {magnitude:.3g} is too large for float16 scales", fix=DAMAGED
        )
    if grid.symmetric:
        return Parameters(scales, None)
    return Parameters(scales, np.clip(np.rint(-lowest / scales), grid.low, grid.high))


def round_to(
    groups: Floats, parameters: Parameters, grid: Grid, work: Workspace, *, out: NDArray[Any]
) -> None:
    """Write the nearest codes of the weights [groups, size] to *out*, integers of that shape."""
    for tile, (codes, *_) in work.tiles(len(groups)):
        np.divide(groups[tile], parameters.scales[tile], out=codes)
        np.rint(codes, out=codes)
        if parameters.zero_points is not None:
            np.add(codes, parameters.zero_points[tile], out=codes)
        np.clip(codes, grid.low, grid.high, out=codes)
        np.copyto(out[tile], codes, casting="unsafe")


def to_half(exact: Floats) -> Floats:
    """Round scales to float16; none becomes zero.

    They are rounded to nearest, but subnormals away from zero: there the step between neighbours is
    large, and a scale that is too small would clip the largest weights.
    """
    halves = exact.astype(np.float16)
    short = (np.abs(exact) < SMALLEST_NORMAL) & (np.abs(halves) < np.abs(exact))
    if short.any():
        outwards = np.copysign(np.float16(np.inf), exact, dtype=np.float16)
        halves = np.where(short, np.nextafter(halves, outwards), halves)
    scales = halves.astype(np.float32)
    scales[scales == 0] = 1  # only where every weight of the group is zero
    return scales
