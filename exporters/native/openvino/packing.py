"""Packing of weights in OpenVINO's constants file: no padding, two four-bit numbers a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.errors import Refusal
from qdeploy.exporters.native.weights_file.packing import Encoding, Parts, Sizes, packed_bytes
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import PER_CHANNEL, Precision

if TYPE_CHECKING:
    from qdeploy.exporters.quantize import Quantized


class Dense(Encoding):
    """Signed codes where symmetric, float16 scales, zero points of the width of the codes."""

    def why_not(self, tensor: TensorPlan) -> Refusal | None:
        if _ends_within_a_byte(tensor):
            return Refusal(
                f"the four-bit codes of {tensor.name} end within a byte",
                f'set {tensor.key} = {{ dtype = "int8" }} in the profile',
            )
        return None

    def sizes(self, precision: Precision, rows: int, columns: int) -> Sizes:
        size, bits = precision.group_size, precision.bits
        groups = rows * (1 if size == PER_CHANNEL else columns // size)
        points = 0 if precision.symmetric else packed_bytes(groups, bits)
        return Sizes(packed_bytes(rows * columns, bits), 2 * groups, points)

    def encode(self, weight: Quantized) -> Parts:
        from qdeploy.exporters.quantize import pack4

        if weight.precision.bits != 4:
            return Parts(weight.codes, weight.scales, weight.zero_points)
        points = None if weight.zero_points is None else pack4(weight.zero_points)
        return Parts(pack4(weight.codes), weight.scales, points)


def _ends_within_a_byte(tensor: TensorPlan) -> bool:
    """Whether the next expert of a stack would start in the middle of a byte."""
    if tensor.precision.bits != 4 or not tensor.expert:
        return False
    rows, columns = tensor.shape
    size = tensor.precision.group_size
    groups = 1 if size == PER_CHANNEL else columns // size
    return rows % 2 == 1 and (
        columns % 2 == 1 or (not tensor.precision.symmetric and groups % 2 == 1)
    )
