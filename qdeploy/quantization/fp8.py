"""Rounds a matrix to 8-bit floats with one scale a row, as llm-compressor's `FP8_DYNAMIC` does.

The scale maps the weight of largest magnitude of a row to E4M3's largest number: amax / 448
(compressed-tensors, `quantization/utils/helpers.py`, `calculate_qparams`). There it is rounded to
the model's type, and here kept in float32, so that the largest weight is not clipped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.errors import CheckpointError
from qdeploy.quantization import e4m3
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.quantized import Quantized
from qdeploy.quantization.rounding import DAMAGED

CHUNK = 2**17
"""Weights that are rounded together: all buffers of theirs fit into a processor's cache."""


def round_rows(
    weight: NDArray[np.float32], precision: Precision, *, where: str | None = None
) -> Quantized:
    """Round the rows of a matrix [N, K]; a row of zeros gets the scale 1.

    *precision* is that of one scale a row, and *where* the tensor's name, for errors.

    Raises:
        CheckpointError: a weight is not finite.
    """
    rows, columns = weight.shape
    result = Quantized(
        precision, np.empty((rows, columns), np.uint8), np.empty((rows, 1), np.float32), None
    )
    step = max(1, CHUNK // columns)
    for start in range(0, rows, step):
        here = slice(start, start + step)
        largest = np.abs(weight[here]).max(axis=1, keepdims=True)
        if not np.isfinite(largest).all():
            raise CheckpointError("a weight is infinite or not a number", where=where, fix=DAMAGED)
        scales = largest / e4m3.LARGEST
        scales[scales == 0] = 1
        result.codes[here] = e4m3.encode(weight[here] / scales)
        result.scales[here] = scales
    return result
