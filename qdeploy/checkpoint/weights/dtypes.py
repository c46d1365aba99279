"""The number formats that weights are stored in, and how each becomes float32. All are exact."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORED: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F8_E4M3": np.dtype("u1"),
}
"""NumPy's type for the elements, by safetensors dtype. Files are little-endian."""


def widen(stored: NDArray[Any], dtype: str, out: NDArray[np.float32]) -> None:
    """Write *stored*, elements of the safetensors *dtype*, into *out* as float32."""
    if dtype == "BF16":  # the upper half of a float32
        bits = out.view(np.uint32)
        np.copyto(bits, stored)
        np.left_shift(bits, 16, out=bits)
    elif dtype == "F8_E4M3":
        np.take(_e4m3(), stored, out=out, mode="clip")  # "raise", the default, makes a copy
    else:
        np.copyto(out, stored)


@cache
def _e4m3() -> NDArray[np.float32]:
    """The value of each of the 256 bytes in the OCP 8-bit format E4M3 (what PyTorch calls e4m3fn).

    Sign, four bits of exponent with a bias of 7, three of mantissa; no infinity, and one NaN of
    either sign: 0x7F and 0xFF.
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
