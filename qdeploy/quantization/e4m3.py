"""E4M3, the 8-bit floats of the Open Compute Project that PyTorch calls `float8_e4m3fn`.

One sign bit, four exponent bits with a bias of 7, three mantissa bits; no infinity, and one NaN of
each sign: 0x7F and 0xFF (OCP 8-bit Floating Point Specification, OFP8, revision 1.0). NumPy has no
such type, so numbers are given by their bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LARGEST = np.float32(448)
SMALLEST_NORMAL = np.float32(2**-6)
MANTISSA_BITS = 3
DROPPED_BITS = 23 - MANTISSA_BITS
"""Bits that a float32 has more in its mantissa."""
BIAS = 127 - 7
"""What a float32's exponent is stored with more."""
SHIFT = np.float32(2**14)
"""Neighbours of this float32 are as far apart as subnormal numbers of E4M3, 2^-9."""


@cache
def values() -> NDArray[np.float32]:
    """The values of all 256 bytes, float32 [256]."""
    found = np.empty(256, np.float32)
    for byte in range(256):
        exponent, mantissa = byte >> 3 & 15, byte & 7
        if (exponent, mantissa) == (15, 7):
            magnitude = np.nan
        elif exponent:
            magnitude = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        else:
            magnitude = mantissa / 8 * 2.0**-6
        found[byte] = -magnitude if byte >> 7 else magnitude
    return found


def encode(numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest numbers, ties to even, by their bytes; finite ones above 448 become 448."""
    magnitudes = np.minimum(np.abs(numbers), LARGEST)
    bits = magnitudes.view(np.uint32)
    half = np.uint32((1 << (DROPPED_BITS - 1)) - 1)
    rounded = bits + (half + (bits >> DROPPED_BITS & 1)) >> DROPPED_BITS
    normal = rounded - np.uint32(BIAS << MANTISSA_BITS)
    subnormal = (magnitudes + SHIFT).view(np.uint32) - SHIFT.view(np.uint32)
    found = np.where(magnitudes < SMALLEST_NORMAL, subnormal, normal).astype(np.uint8)
    found |= np.signbit(numbers).astype(np.uint8) << np.uint8(7)
    return found
