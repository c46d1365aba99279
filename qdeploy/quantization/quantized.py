"""The result of quantization, before any format's packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.quantization import e4m3
from qdeploy.quantization.precision import Precision


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized matrix [N, K], or some rows of it, in G groups of K / G columns a row.

    Attributes:
        precision: int4, int8 or fp8; a group size of -1 means one group a row.
        codes: [N, K]. Asymmetric: uint8, 0 to 15 or 255. Symmetric: int8, -8 to 7 or -128 to 127.
            FP8: the bytes of E4M3 as uint8; of blocks, each row has the scales of its own.
        scales: [N, G], float16 of rounding here, which are never zero; float32, and any finite
            values, where a checkpoint's own are taken over. Symmetric ones may be negative: see
            `rounding.plain`.
        zero_points: uint8 [N, G] in the codes' range; None where symmetric, and of FP8.
        input_scale: the scale that the layer's inputs are rounded with, where it is static: x
            becomes clamp(round(x / input_scale), -128, 127), half to even. A float32.
    """

    precision: Precision
    codes: NDArray[Any]
    scales: NDArray[np.float16] | NDArray[np.float32]
    zero_points: NDArray[np.uint8] | None
    input_scale: float | None = None

    def dequantize(self) -> NDArray[np.float32]:
        """Compute the weights that the codes represent, float32 [N, K]: (code - zero point) *
        scale.

        The difference is an integer, exact in float32, so only the product is rounded. A runtime
        that converts scales to float32 computes the same.
        """
        columns, groups = self.codes.shape[1], self.scales.shape[1]
        numbers = self.codes if self.precision.dtype != "fp8" else e4m3.values()[self.codes]
        values = numbers.reshape(-1, groups, columns // groups).astype(np.float32)
        if self.zero_points is not None:
            values -= self.zero_points[..., None]
        values *= self.scales[..., None].astype(np.float32)
        return values.reshape(self.codes.shape)
