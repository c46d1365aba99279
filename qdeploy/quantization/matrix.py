"""Quantizes a matrix, or some of its rows, in chunks that fit the processor's cache."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.errors import CheckpointError
from qdeploy.quantization import rounding
from qdeploy.quantization.fp8 import round_rows
from qdeploy.quantization.precision import PER_CHANNEL, Precision
from qdeploy.quantization.quantized import Quantized
from qdeploy.quantization.rounding import Ends, Grid
from qdeploy.quantization.search import improve
from qdeploy.quantization.workspace import Workspace

CHUNK = 2**21
"""Weights of a chunk. Its 8 MiB are still in a cache when the weights are rounded, and the fixed
cost of the many small NumPy calls is spread over enough of them."""
SEARCHED_BITS = 4
"""At eight bits the search gains nothing, on Gaussian or heavy-tailed weights."""


def quantize(
    weight: NDArray[np.float32],
    precision: Precision,
    *,
    search: bool = True,
    where: str | None = None,
) -> Quantized:
    """Quantize a matrix: codes, scales and zero points of each group, from its weights alone.

    Args:
        weight: float32 [N, K], a whole matrix or some of its rows.
        precision: int4 or int8, with a group size that divides K; or FP8 by row.
        search: search for scales with less error than the plain ones; int4 only, see `search`.
        where: name of the tensor, for errors.

    Raises:
        CheckpointError: a weight is not finite, or too large for a float16 scale.
    """
    if precision.dtype == "fp8":
        return round_rows(weight, precision, where=where)
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
    step = max(1, CHUNK // columns)
    work = Workspace(min(step, rows) * per_row, size)
    for start in range(0, rows, step):
        here = slice(start, start + step)
        groups = np.ascontiguousarray(weight[here]).reshape(-1, size)
        ends = Ends.of(groups)
        try:
            parameters = rounding.plain(ends, grid)
        except CheckpointError as error:
            raise CheckpointError(error.what, where=where, fix=error.fix) from None
        if searching:
            parameters = improve(groups, ends, parameters, grid, work)
        rounding.round_to(groups, parameters, grid, work, out=result.codes[here].reshape(-1, size))
        result.scales[here] = parameters.scales.reshape(-1, per_row)
        if result.zero_points is not None and parameters.zero_points is not None:
            result.zero_points[here] = parameters.zero_points.reshape(-1, per_row)
    return result
