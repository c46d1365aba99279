"""A whole matrix, or some rows of it, quantized in tiles that stay in the processor's cache."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.errors import ExportFailed
from qdeploy.exporters.quantize import rounding
from qdeploy.exporters.quantize.quantized import Quantized
from qdeploy.exporters.quantize.rounding import Ends, Grid, Parameters
from qdeploy.exporters.quantize.search import BUFFERS, improve
from qdeploy.profile import PER_CHANNEL, Precision

TILE = 2**16
"""Weights worked on at a time, 0.25 MiB a buffer. A quarter of it costs an eighth more for calls
into NumPy; without tiles every step would go through memory, and take several times as long."""
SEARCHED_BITS = 4
"""At eight bits there is nothing to gain, neither on Gaussian nor on heavy-tailed weights."""


def quantize(
    weight: NDArray[np.float32],
    precision: Precision,
    *,
    search: bool = True,
    where: str | None = None,
) -> Quantized:
    """Quantize a matrix: codes, scales and zero points of each group, from its own weights alone.

    Args:
        weight: float32 [N, K], a whole matrix or some of its rows.
        precision: int4 or int8, with a group size that divides K.
        search: look for better scales than the plain ones; int4 only, see `search`.
        where: name of the tensor, for errors.

    Raises:
        ExportFailed: a weight is not finite, or too large for a float16 scale.
    """
    if precision.dtype not in ("int4", "int8"):
        raise ValueError(f"{precision} is not made of integers")
    rows, columns = weight.shape
    size = columns if precision.group_size == PER_CHANNEL else precision.group_size
    if columns % size:
        raise ValueError(f"group size {size} does not divide {columns} columns")
    per_row = columns // size
    result = Quantized(
        precision,
        np.empty((rows, columns), np.int8 if precision.symmetric else np.uint8),
        np.empty((rows, per_row), np.float16),
        None if precision.symmetric else np.empty((rows, per_row), np.uint8),
    )
    grid = Grid.of(precision)
    searching = search and precision.bits == SEARCHED_BITS
    step = max(1, TILE // columns)
    count = BUFFERS if searching else 1
    buffers = np.empty((count, min(step, rows) * per_row, size), np.float32)
    for start in range(0, rows, step):
        tile = np.ascontiguousarray(weight[start : start + step]).reshape(-1, size)
        here = buffers[:, : len(tile)]
        try:
            parameters = rounding.plain(ends := Ends.of(tile), grid)
        except ExportFailed as error:
            raise ExportFailed(error.what, where=where) from None
        if searching:
            parameters = improve(tile, ends, parameters, grid, buffers=here)
        codes = rounding.round_to(tile, parameters, grid, out=here[0])
        _store(result, slice(start, start + step), parameters, codes)
    return result


def _store(
    result: Quantized, rows: slice, parameters: Parameters, codes: NDArray[np.float32]
) -> None:
    """Write what was found for some rows into the result's own types."""
    np.copyto(result.codes[rows], codes.reshape(-1, result.codes.shape[1]), casting="unsafe")
    per_row = result.scales.shape[1]
    result.scales[rows] = parameters.scales.reshape(-1, per_row)
    if result.zero_points is not None and parameters.zero_points is not None:
        result.zero_points[rows] = parameters.zero_points.reshape(-1, per_row)
