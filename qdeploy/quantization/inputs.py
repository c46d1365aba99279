"""Rounding the inputs of linear layers to int8, as the kernels of the runtimes do it.

Source: `calculate_qparams` and `quantize` of compressed-tensors, for symmetric scales: half of the
range of the 256 codes stands for the largest magnitude.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HALF_RANGE = np.float32(127.5)
LOWEST, HIGHEST = -128, 127
SMALLEST = np.finfo(np.float32).tiny
"""The scale of a token of zeros."""


def round_by_token(x: Floats) -> Floats:
    """What int8 codes with one scale for each row of x [T, K] represent, float32 [T, K]."""
    most = np.abs(x).max(axis=-1, keepdims=True)
    return round_to(x, np.maximum(most / HALF_RANGE, SMALLEST))


def round_to(x: Floats, scales: Floats | np.float32) -> Floats:
    """What int8 codes with these scales represent; values outside of their range are clipped."""
    codes: Floats = np.rint(x / scales)
    np.clip(codes, LOWEST, HIGHEST, out=codes)
    codes *= scales
    return codes
