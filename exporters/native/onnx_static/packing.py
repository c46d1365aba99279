"""Packing for standard operators: floats in the graph's type, int8 with one scale a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.errors import Refusal
from qdeploy.exporters.native.onnx.packing import Blocks
from qdeploy.exporters.native.weights_file.packing import Encoding, Parts, Sizes
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType

if TYPE_CHECKING:
    from qdeploy.quantization.quantized import Quantized


class Rows(Encoding):
    """Rows of floats or int8 codes; four-bit codes in the blocks of `MatMulNBits`.

    Args:
        floats: type of unquantized weights, `float32` or `float16`.
    """

    def __init__(self, floats: str) -> None:
        self._floats = floats
        self._blocks = Blocks(floats)

    def why_not(self, tensor: TensorPlan) -> Refusal | None:
        precision = tensor.precision
        if precision.dtype == "int4":
            if tensor.role not in ("linear", "lm_head"):
                return Refusal(
                    f"there is no plain operator for {tensor.name} in four bits",
                    tensor.fix(f'set {tensor.key} = {{ dtype = "fp16" }} in the profile'),
                )
            return self._blocks.why_not(tensor)
        if precision.dtype == "int8" and precision.group_size != PER_CHANNEL:
            return Refusal(
                f"{tensor.name} in int8 has one scale a row there",
                tensor.fix(f"set {tensor.key}.group_size = -1 in the profile"),
            )
        return None

    def float_type(self, rank: int) -> str:
        return self._floats

    def alignment(self, size: int) -> int:
        return self._blocks.alignment(size)

    def sizes(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Sizes:
        if precision.bits == 4:
            return self._blocks.sizes(precision, rows, columns)
        return Sizes(rows * columns, 4 * rows, 0 if precision.symmetric else rows)

    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        if weight.precision.bits == 4:
            return self._blocks.encode(weight)
        return Parts(weight.codes, weight.scales.astype("float32"), weight.zero_points)
