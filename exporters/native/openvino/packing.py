"""Packing of weights in OpenVINO's constants file: no padding, two four-bit numbers a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.errors import Refusal
from qdeploy.exporters.native.weights_file.packing import (
    Encoding,
    Parts,
    Sizes,
    convert_scales,
    packed_bytes,
)
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType

if TYPE_CHECKING:
    from qdeploy.quantization.quantized import Quantized


class Dense(Encoding):
    """Signed codes where symmetric, zero points of the width of the codes.

    Args:
        wide: scales may be float32, too: OpenVINO's CPU plugin is known to fuse those.
    """

    def __init__(self, *, wide: bool = False) -> None:
        self._wide = wide

    def why_not(self, tensor: TensorPlan) -> Refusal | None:
        if tensor.scales == "float32" and not self._wide:
            return Refusal(
                f"the scales of {tensor.name} are float32, which only OpenVINO's CPU plugin is "
                "known to take",
                tensor.fix(""),
            )
        if _ends_within_a_byte(tensor):
            return Refusal(
                f"the four-bit codes of {tensor.name} end within a byte",
                tensor.fix(f'set {tensor.key} = {{ dtype = "int8" }} in the profile'),
            )
        return None

    def sizes(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Sizes:
        import numpy as np

        size, bits = precision.group_size, precision.bits
        groups = rows * (1 if size == PER_CHANNEL else columns // size)
        points = 0 if precision.symmetric else packed_bytes(groups, bits)
        return Sizes(packed_bytes(rows * columns, bits), np.dtype(scales).itemsize * groups, points)

    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        from qdeploy.quantization.packing import pack4

        converted = convert_scales(weight.scales, scales)
        if weight.precision.bits != 4:
            return Parts(weight.codes, converted, weight.zero_points)
        points = None if weight.zero_points is None else pack4(weight.zero_points)
        return Parts(pack4(weight.codes), converted, points)


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
