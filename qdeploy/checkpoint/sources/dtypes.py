"""Data types of stored weights, and their conversion to float32, which is exact but for F64."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F8_E4M3": np.dtype("u1"),
}
"""NumPy dtype of the stored elements, by safetensors dtype. Files are little-endian."""


def widen(raw: NDArray[Any], dtype: str, out: NDArray[np.float32]) -> None:
    """Convert *raw*, elements of the safetensors *dtype*, to float32 in *out*."""
    if dtype == "BF16":  # the upper half of a float32
        bits = out.view(np.uint32)
        np.copyto(bits, raw)
        np.left_shift(bits, 16, out=bits)
    elif dtype == "F8_E4M3":
        np.take(_e4m3(), raw, out=out, mode="clip")  # the default, "raise", makes a copy
    else:
        with np.errstate(over="ignore"):  # infinity: who reads weights refuses it
            np.copyto(out, raw, casting="same_kind")


@cache
def _e4m3() -> NDArray[np.float32]:
    """The values of all 256 bytes in the OCP 8-bit format E4M3, PyTorch's `float8_e4m3fn`.

    One sign bit, four exponent bits with a bias of 7, three mantissa bits; no infinity, and one NaN
    of each sign: 0x7F and 0xFF.
    """
    values = np.empty(256, np.float32)
    for byte in range(256):
        exponent, mantissa = byte >> 3 & 15, byte & 7
        if (exponent, mantissa) == (15, 7):
            magnitude = np.nan
        elif exponent:
            magnitude = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        else:
            magnitude = mantissa / 8 * 2.0**-6
        values[byte] = -magnitude if byte >> 7 else magnitude
    return values
