"""Weights in the static graph, and the nodes that dequantize them."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.exporters.native.onnx.graph import FLOAT_TYPES, MICROSOFT, Graph
from qdeploy.exporters.native.onnx.packing import block_size
from qdeploy.exporters.native.weights_file.layout import PackedWeight, WeightsLayout


class Weights:
    """The weights of one graph.

    Args:
        floats: element type of activations.
        dequantizes: whether the engine supports `DequantizeLinear`. Otherwise codes are cast and
            multiplied, which ONNX Runtime folds when it loads the model.
        accuracy_level: of `MatMulNBits`.
    """

    def __init__(
        self,
        graph: Graph,
        layout: WeightsLayout,
        floats: str,
        *,
        dequantizes: bool,
        accuracy_level: int,
    ) -> None:
        self._graph, self._layout, self._floats = graph, layout, floats
        self._dequantizes, self._level = dequantizes, accuracy_level
        self._known: dict[tuple[str, ...], str] = {}

    def multiply(self, x: str, weight: str, *, bias: str | None = None) -> str:
        """Multiply x [L, K] by the transposed *weight* [N, K] and add *bias* [N]; gives [L, N]."""
        stored, name = self._layout.weight(weight), weight.removesuffix(".weight")
        if stored.precision.bits == 4:
            product = self._four_bits(x, stored, name)
            if bias is None:
                return product
            return self._graph.add("Add", [product, self.vector(bias)], name=f"{name}/biased")
        inputs = [x, self._floats_of(stored, (stored.rows, stored.columns))]
        if bias is not None:
            inputs.append(self.vector(bias))
        return self._graph.add("Gemm", inputs, name=name, transB=1)

    def look_up(self, weight: str, ids: str) -> str:
        """Rows of *weight* [N, K] by their numbers [L]; gives [L, K]."""
        graph, stored, name = (
            self._graph,
            self._layout.weight(weight),
            weight.removesuffix(".weight"),
        )
        if stored.precision.dtype == "fp16":
            table = self._floats_of(stored, (stored.rows, stored.columns))
            return graph.add("Gather", [table, ids], name=name, axis=0)
        codes, scales, points = self._parts(stored, (stored.rows, stored.columns), (stored.rows, 1))
        rows = [
            graph.add("Gather", [part, ids], axis=0) for part in (codes, scales, points) if part
        ]
        return self._widen(rows[0], rows[1], rows[2] if points else "", name)

    def vector(self, weight: str) -> str:
        stored = self._layout.weight(weight)
        return self._graph.stored(weight, self._floats, stored.shape, stored.codes)

    def stackable(self, weights: Sequence[str]) -> bool:
        """Whether `stack` takes them: all of one form, and not of four bits."""
        forms = {self._layout.form(weight) for weight in weights}
        return len(forms) == 1 and all(precision.bits != 4 for precision, _ in forms)

    def stack(self, weights: Sequence[str]) -> str:
        """Weights of equal shapes [N, K] as one, [weights, N, K]."""
        stored = self._layout.weight(*weights)
        return self._floats_of(stored, (len(weights), *stored.shape))

    def _floats_of(self, stored: PackedWeight, shape: tuple[int, ...]) -> str:
        """The weight in the graph's own type."""
        name = stored.tensors[0] + ("/all" if len(stored.tensors) > 1 else "")
        if stored.precision.dtype == "fp16":
            return self._graph.stored(name, self._floats, shape, stored.codes)
        if stored.tensors not in self._known:
            rows = (stored.rows, stored.columns)
            self._known[stored.tensors] = self._dequantized(stored, rows, shape, name)
        return self._known[stored.tensors]

    def _dequantized(
        self, stored: PackedWeight, rows: tuple[int, int], shape: tuple[int, ...], name: str
    ) -> str:
        graph = self._graph
        if self._dequantizes:
            inputs = list(filter(None, self._parts(stored, rows, (stored.rows,))))
            values = graph.add("DequantizeLinear", inputs, name=f"{name}/dequantized", axis=0)
            if self._floats != "float32":
                to = FLOAT_TYPES[self._floats]
                values = graph.add("Cast", [values], name=f"{name}/floats", to=to)
        else:
            values = self._widen(*self._parts(stored, rows, (stored.rows, 1)), f"{name}/floats")
        if shape == rows:
            return values
        return graph.add("Reshape", [values, graph.i64(list(shape))], name=f"{name}/stack")

    def _parts(
        self, stored: PackedWeight, shape: tuple[int, ...], per_row: tuple[int, ...]
    ) -> tuple[str, str, str]:
        """Names of codes, scales and zero points; the last is empty where there are none."""
        graph, name = self._graph, stored.tensors[0]
        dtype = "int8" if stored.precision.symmetric else "uint8"
        form = "x".join(map(str, per_row))  # one name for each shape of the same bytes
        codes = graph.stored(f"{name}/codes", dtype, shape, stored.codes)
        scales = points = ""
        if stored.scales:
            scales = graph.stored(f"{name}/scales/{form}", "float32", per_row, stored.scales)
        if stored.zero_points:
            points = graph.stored(f"{name}/zero_points/{form}", dtype, per_row, stored.zero_points)
        return codes, scales, points

    def _widen(self, codes: str, scales: str, points: str, name: str) -> str:
        """(codes - zero points) * scales, in float32 until the end."""
        graph, wide = self._graph, FLOAT_TYPES["float32"]
        values = graph.add("Cast", [codes], to=wide)
        if points:
            values = graph.add("Sub", [values, graph.add("Cast", [points], to=wide)])
        if self._floats == "float32":
            return graph.add("Mul", [values, scales], name=name)
        values = graph.add("Mul", [values, scales])
        return graph.add("Cast", [values], name=name, to=FLOAT_TYPES[self._floats])

    def _four_bits(self, x: str, stored: PackedWeight, name: str) -> str:
        graph, tensor = self._graph, stored.tensors[0]
        size = block_size(stored.precision, stored.columns)
        blocks = -(-stored.columns // size)
        shape = (stored.rows, blocks, size // 2)
        inputs = [x, graph.stored(f"{tensor}/blocks", "uint8", shape, stored.codes)]
        if stored.scales:
            per_block = (stored.rows, blocks)
            inputs.append(graph.stored(f"{tensor}/scales", self._floats, per_block, stored.scales))
        if stored.zero_points:
            per_block = (stored.rows, -(-blocks // 2))
            inputs.append(graph.stored(f"{tensor}/zeros", "uint8", per_block, stored.zero_points))
        return graph.add(
            "MatMulNBits", inputs, name=name, domain=MICROSOFT,
            K=stored.columns, N=stored.rows, bits=4, block_size=size, accuracy_level=self._level,
        )  # fmt: skip
