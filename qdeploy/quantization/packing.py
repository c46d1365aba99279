"""Packs two four-bit codes a byte, the first in the low half; signed codes as unsigned ones.

OpenVINO's u4 and i4 tensors, ONNX's UINT4 and INT4, and the blocks of ONNX Runtime's MatMulNBits
all have this layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.quantization.quantized import Quantized


def offset_binary(weight: Quantized) -> NDArray[np.uint8]:
    """The codes as unsigned ones: without zero points, 2^(bits - 1) stands for zero."""
    if not weight.precision.symmetric:
        return np.asarray(weight.codes, np.uint8)
    zero = 2 ** (weight.precision.bits - 1)
    return (weight.codes.view(np.uint8) + np.uint8(zero)) & np.uint8(2 * zero - 1)


def pack4(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Pack uint8 codes of 0 to 15, or int8 codes of -8 to 7, as two's complement.

    The array is flattened in C order. With an odd number of codes, the high half of the last byte
    is zero.

    Returns:
        uint8 [ceil(codes.size / 2)].
    """
    flat = np.ascontiguousarray(codes).reshape(-1).view(np.uint8)
    if codes.dtype == np.int8:
        flat = np.bitwise_and(flat, np.uint8(0x0F))
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    # read pairs as little-endian 16-bit numbers, so that NumPy uses whole vector registers
    pairs = flat.view("<u2")
    both = pairs >> 4
    both |= pairs
    return both.astype(np.uint8)  # of 0x0b0a, shifted and joined 0x0bba, the low byte


def unpack4(
    packed: NDArray[np.uint8], shape: tuple[int, ...], *, symmetric: bool
) -> NDArray[np.uint8] | NDArray[np.int8]:
    """Reverse `pack4`: codes of *shape*, int8 where *symmetric*, else uint8."""
    halves = np.stack((packed & 0x0F, packed >> 4), axis=-1).reshape(-1)
    codes = halves[: int(np.prod(shape))].reshape(shape)
    # shift left and arithmetically right, which extends the sign bit of four bits to eight
    return (codes << 4).view(np.int8) >> 4 if symmetric else codes
