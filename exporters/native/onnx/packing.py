"""Packing for ONNX Runtime's operators with quantized weights: unsigned codes in blocks.

`MatMulNBits`, `GatherBlockQuantized` and `QMoE` share one layout (docs/ContribOperators.md in
microsoft/onnxruntime). A row is padded to whole blocks of a power of two of columns, each with its
own scale; each row of zero points starts at a byte. Codes without zero points are offset binary:
2^(bits - 1) stands for zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.errors import Refusal
from qdeploy.exporters.native.weights_file.packing import (
    CACHE_LINE,
    Encoding,
    Parts,
    Sizes,
    convert_scales,
    packed_bytes,
)
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from qdeploy.quantization.quantized import Quantized

BLOCKS = (128, 64, 32, 16)
"""Block sizes for a row with one scale, which every block repeats; the largest divisor is used.

Larger blocks repeat the scale less often; 16 is the smallest that the operators support.
"""
PAGE = 4096
"""Alignment of large parts, so that a runtime can map them into memory (docs/ExternalData.md)."""
LARGE_BYTES = 2**16


class Blocks(Encoding):
    """Blocks of codes, scales of the graph's float type, packed zero points.

    Args:
        floats: type of scales and vectors, `float32` or `float16`.
    """

    def __init__(self, floats: str) -> None:
        self._floats = floats

    def why_not(self, tensor: TensorPlan) -> Refusal | None:
        """Refuse rows that end within a block, except in linear layers outside of experts."""
        precision = tensor.precision
        if precision.dtype == "fp16":
            return None
        if tensor.scales == "float32" and self._floats != "float32":
            return Refusal(
                f"the scales of {tensor.name} are float32, and those of this graph {self._floats}",
                tensor.fix(""),
            )
        columns = tensor.shape[-1]
        if columns % block_size(precision, columns) == 0:
            return None
        if tensor.role in ("linear", "lm_head") and not tensor.expert:
            return None
        return Refusal(
            f"{tensor.name} has rows of {columns}, which no block divides",
            tensor.fix(f'set {tensor.key} = {{ dtype = "fp16" }} in the profile'),
        )

    def alignment(self, size: int) -> int:
        return PAGE if size >= LARGE_BYTES else CACHE_LINE

    def float_type(self, rank: int) -> str:
        return "float16" if rank > 1 else self._floats

    def sizes(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Sizes:
        import numpy as np

        size = block_size(precision, columns)
        blocks = -(-columns // size)
        points = 0 if precision.symmetric else packed_bytes(blocks, precision.bits)
        element = np.dtype(self._floats).itemsize
        code_bytes = packed_bytes(blocks * size, precision.bits)
        return Sizes(rows * code_bytes, rows * blocks * element, rows * points)

    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        from qdeploy.quantization.packing import offset_binary, pack4

        precision, columns = weight.precision, weight.codes.shape[1]
        blocks = -(-columns // block_size(precision, columns))
        codes = _pad(offset_binary(weight), blocks * block_size(precision, columns))
        repeats = blocks // weight.scales.shape[1]
        converted = convert_scales(weight.scales, self._floats).repeat(repeats, axis=1)
        points = weight.zero_points
        if points is not None:
            points = points.repeat(repeats, axis=1)
        if precision.bits == 4:
            codes = pack4(codes)
            points = None if points is None else pack4(_pad(points, blocks + blocks % 2))
        return Parts(codes, converted, points)


def block_size(precision: Precision, columns: int) -> int:
    """Columns of a block: the group size, or with one scale a row the first of `BLOCKS` to fit."""
    if precision.group_size != PER_CHANNEL:
        return precision.group_size
    return next((size for size in BLOCKS if columns % size == 0), 32)


def _pad(codes: NDArray[Any], columns: int) -> NDArray[Any]:
    import numpy as np

    missing = columns - codes.shape[1]
    return np.pad(codes, ((0, 0), (0, missing))) if missing else codes
