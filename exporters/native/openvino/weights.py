"""Weights in the graph: codes and their dequantization, in the form that the plugins match.

    codes -> Convert f16 [-> Subtract zero points] -> Multiply scales [-> Reshape] -> Convert f32

The plugins keep the codes and dequantize inside their kernels only for exactly this form. With
float32 scales it is f32 throughout, without the last Convert; of the CPU plugin it is known to keep
the codes, too.
"""

from __future__ import annotations

from qdeploy.exporters.native.openvino.ir import Shape, Value
from qdeploy.exporters.native.openvino.operations import Operations
from qdeploy.exporters.native.weights_file.layout import PackedWeight, Span, WeightsLayout
from qdeploy.quantization.precision import PER_CHANNEL, Precision

DECOMPRESSION = "decompression"
"""Marks a Convert of a stored float16: the plugins then keep the float16."""

FLOATS = {"float16": "f16", "float32": "f32"}
"""OpenVINO's names of the types of scales."""


class Weights:
    """The weights of one graph; each is added once."""

    def __init__(self, ops: Operations, layout: WeightsLayout) -> None:
        self._ops, self._layout = ops, layout
        self._known: dict[tuple[str, ...], Value] = {}

    def matrix(self, name: str) -> Value:
        """The weight *name*, float32 [N, K]."""
        return self._value((name,), ())

    def stack(self, names: tuple[str, ...]) -> Value:
        """Equal-shaped weights as one, float32 [names, N, K]."""
        return self._value(names, (len(names),))

    def vector(self, name: str, rank: int) -> Value:
        """The weight *name* [N], with leading axes of size 1 up to *rank* axes."""
        stored = self._layout.weight(name)
        return self._float(stored, (1,) * (rank - 1) + stored.shape)

    def _value(self, names: tuple[str, ...], stacked: Shape) -> Value:
        if names not in self._known:
            stored = self._layout.weight(*names)
            shape = stacked + stored.shape
            is_float = stored.precision.dtype == "fp16"
            self._known[names] = (self._float if is_float else self._decompressed)(stored, shape)
        return self._known[names]

    def _float(self, stored: PackedWeight, shape: Shape) -> Value:
        half = self._constant(stored.codes, "f16", shape, stored.tensors[0])
        return self._ops.convert(half, "f32", mark=DECOMPRESSION)

    def _decompressed(self, stored: PackedWeight, shape: Shape) -> Value:
        ops, name = self._ops, stored.tensors[0]
        grouped = stored.precision.group_size != PER_CHANNEL
        *rows, columns = shape
        inner = (*rows, stored.groups, columns // stored.groups) if grouped else shape
        one_a_group = (*inner[:-1], 1)
        dtype = code_type(stored.precision)
        floats = FLOATS[stored.scale_type]
        weight = ops.convert(self._constant(stored.codes, dtype, inner, name), floats)
        if stored.zero_points:
            points = self._constant(stored.zero_points, dtype, one_a_group, f"{name}/zero_point")
            weight = ops.elementwise("Subtract", weight, ops.convert(points, floats))
        if stored.scales:
            scales = self._constant(stored.scales, floats, one_a_group, f"{name}/scale")
            weight = ops.elementwise("Multiply", weight, scales)
        if grouped:
            weight = ops.reshape(weight, shape)
        return weight if floats == "f32" else ops.convert(weight, "f32")

    def _constant(self, span: Span, dtype: str, shape: Shape, name: str) -> Value:
        return self._ops.graph.stored(dtype, shape, span.offset, span.size, name)


def code_type(precision: Precision) -> str:
    """Element type of the codes: unsigned with zero points, signed without."""
    return f"{'i' if precision.symmetric else 'u'}{precision.bits}"
