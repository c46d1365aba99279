"""OpenVINO operations with the inference of their output's type and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.exporters.native.openvino.ir import Graph, Shape, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

DYNAMIC = -1


class Operations:
    """Shorthands over a graph. Constants may be given as plain numbers and lists.

    The plugins match subgraphs to fuse by their exact form: an axis counted from the end must stay
    negative, and a scalar is not a vector of one element.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def i64(self, values: ArrayLike) -> Value:
        import numpy as np

        return self.graph.constant(np.asarray(values, dtype=np.int64))

    def f32(self, values: ArrayLike) -> Value:
        import numpy as np

        return self.graph.constant(np.asarray(values, dtype=np.float32))

    def elementwise(self, kind: str, x: Value, y: Value, name: str = "") -> Value:
        """A binary operation with NumPy's broadcasting: `Add`, `Multiply`, `LessEqual`, ..."""
        shape = _broadcast(x.shape, y.shape)
        compares = kind in ("LessEqual", "LogicalAnd")
        dtype = "boolean" if compares else x.dtype
        return self.graph.add(kind, [x, y], dtype, shape, name=name, auto_broadcast="numpy")

    def unary(self, kind: str, x: Value, *, opset: str = "opset1") -> Value:
        """`Sqrt`, `Cos`, `Swish`, ..."""
        return self.graph.add(kind, [x], x.dtype, x.shape, opset=opset)

    def convert(self, x: Value, dtype: str, *, mark: str = "") -> Value:
        return self.graph.add("Convert", [x], dtype, x.shape, mark=mark, destination_type=dtype)

    def reshape(self, x: Value, target: Sequence[int], shape: Shape | None = None) -> Value:
        """Reshape to *target*, where 0 keeps a dimension and one -1 takes the rest.

        *shape* is the result's shape where *target* does not determine it.
        """
        pattern = self.i64(list(target))
        known = shape or tuple(x.shape[i] if n == 0 else n for i, n in enumerate(target))
        return self.graph.add("Reshape", [x, pattern], x.dtype, known, special_zero=True)

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        shape = tuple(x.shape[i] for i in order)
        return self.graph.add("Transpose", [x, self.i64(list(order))], x.dtype, shape)

    def unsqueeze(self, x: Value, axis: int) -> Value:
        shape = (*x.shape[:axis], 1, *x.shape[axis:])
        return self.graph.add("Unsqueeze", [x, self.i64(axis)], x.dtype, shape)

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        shape = list(parts[0].shape)
        sizes = [p.shape[axis] for p in parts]
        shape[axis] = DYNAMIC if DYNAMIC in sizes else sum(sizes)
        return self.graph.add("Concat", parts, parts[0].dtype, tuple(shape), axis=axis)

    def slice_last(self, x: Value, start: int, stop: int, size: int) -> Value:
        """x[..., start:stop] of a four-dimensional x, whose last axis then has *size* elements."""
        bounds = [self.i64([n]) for n in (start, stop, 1, 3)]
        return self.graph.add("Slice", [x, *bounds], x.dtype, (*x.shape[:-1], size), opset="opset8")

    def matmul(self, x: Value, y: Value, *, transpose: bool, name: str = "") -> Value:
        """Multiply x [..., M, K] with y [..., K, N], or y [..., N, K] with *transpose*."""
        shape = (*x.shape[:-1], y.shape[-2 if transpose else -1])
        return self.graph.add(
            "MatMul", [x, y], "f32", shape, name=name, transpose_a=False, transpose_b=transpose
        )

    def reduce(self, kind: str, x: Value, axis: int, *, keep: bool) -> Value:
        """`ReduceMean` or `ReduceSum` over one axis."""
        shape = list(x.shape)
        shape[axis : axis + 1 or None] = [1] if keep else []
        return self.graph.add(kind, [x, self.i64([axis])], x.dtype, tuple(shape), keep_dims=keep)

    def shape_of(self, x: Value) -> Value:
        rank = (len(x.shape),)
        return self.graph.add("ShapeOf", [x], "i64", rank, opset="opset3", output_type="i64")

    def gather(
        self,
        x: Value,
        indices: Value,
        axis: int,
        *,
        name: str = "",
        tensor: str = "",
        batch_dims: int = 0,
    ) -> Value:
        """Take the elements of x at *indices* along *axis*, counted from the front.

        The first *batch_dims* axes of both go together.
        """
        shape = (*x.shape[:axis], *indices.shape[batch_dims:], *x.shape[axis + 1 :])
        return self.graph.add(
            "Gather", [x, indices, self.i64(axis)], x.dtype, shape,
            name=name, tensor=tensor, opset="opset8", batch_dims=batch_dims,
        )  # fmt: skip

    def range(self, start: Value, stop: Value) -> Value:
        """start, start + 1, ..., stop - 1, of scalars."""
        inputs = [start, stop, self.i64(1)]
        return self.graph.add("Range", inputs, "i64", (DYNAMIC,), opset="opset4", output_type="i64")

    def broadcast(self, x: Value, target: Value, shape: Shape, *, mode: str = "numpy") -> Value:
        return self.graph.add("Broadcast", [x, target], x.dtype, shape, opset="opset3", mode=mode)

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        inputs: list[Any] = [condition, yes, no]
        return self.graph.add("Select", inputs, yes.dtype, condition.shape, auto_broadcast="numpy")


def _broadcast(x: Shape, y: Shape) -> Shape:
    """The shape of two that are combined element by element; an unknown size wins over 1."""
    rank = max(len(x), len(y))
    pairs = zip((1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y, strict=True)
    return tuple(b if a == 1 else a if b in (1, DYNAMIC) else b for a, b in pairs)
