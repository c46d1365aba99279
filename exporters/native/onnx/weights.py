"""Weights in the contrib graph: operators that multiply by codes, or look rows of them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qdeploy.exporters.native.onnx.graph import FLOAT_TYPES, MICROSOFT, Graph
from qdeploy.exporters.native.onnx.packing import block_size
from qdeploy.exporters.native.weights_file.layout import PackedWeight, Span, WeightsLayout
from qdeploy.quantization.precision import Precision


class Experts(NamedTuple):
    """The weights of all experts as one operand: [E, interleaved * N, K], codes packed.

    Attributes:
        block: columns that share a scale; 0 for float weights.
    """

    precision: Precision
    block: int
    codes: str
    scales: str = ""
    zero_points: str = ""


class Weights:
    """The weights of one graph, each of them stored once.

    Args:
        floats: element type of activations.
        accuracy_level: of `MatMulNBits`: 4 lets it round activations to int8 block by block.
    """

    def __init__(
        self, graph: Graph, layout: WeightsLayout, floats: str, accuracy_level: int
    ) -> None:
        self._graph, self._layout = graph, layout
        self._floats, self._level = floats, accuracy_level
        self._transposed: dict[str, str] = {}

    def multiply(self, x: str, weights: Sequence[str], *, output: str = "") -> str:
        """Multiply x [..., K] by the rows of all *weights* [N, K], concatenated."""
        stored = self._layout.weight(*weights)
        name = _layer(weights[0])
        if stored.precision.dtype == "fp16":
            matrix = self._float_transposed(stored)
            return self._graph.add("MatMul", [x, matrix], name=name, output=output)
        inputs = [x, *self._quantized(stored, rank=3)]
        return self._graph.add(
            "MatMulNBits", inputs, name=name, output=output, domain=MICROSOFT,
            K=stored.columns, N=stored.rows, bits=stored.precision.bits,
            block_size=block_size(stored.precision, stored.columns), accuracy_level=self._level,
        )  # fmt: skip

    def look_up(self, weight: str, ids: str) -> str:
        """Look up rows of *weight* [N, K] by *ids* [...]; gives [..., K]."""
        stored, name = self._layout.weight(weight), _layer(weight)
        if stored.precision.dtype == "fp16":
            table = self._float(stored)
            rows = self._graph.add("Gather", [table, ids], name=f"{name}/half", axis=0)
            return self.to_floats(rows, name)
        inputs = self._quantized(stored, rank=2)
        return self._graph.add(
            "GatherBlockQuantized", [inputs[0], ids, *inputs[1:]], name=name, domain=MICROSOFT,
            bits=stored.precision.bits, block_size=block_size(stored.precision, stored.columns),
            gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def vector(self, *weights: str) -> str:
        """One weight [N], or several concatenated, in the type of activations."""
        stored = self._layout.weight(*weights)
        name = weights[0] + ("/all" if len(weights) > 1 else "")
        return self._graph.stored(name, self._floats, (stored.rows,), stored.codes)

    def experts(self, weights: Sequence[str], interleaved: int) -> Experts:
        """Stack experts' weights; in each expert, rows of *interleaved* weights alternate."""
        stored = self._layout.weight(*weights, interleaved=interleaved)
        rows = (len(weights) // interleaved, interleaved * stored.shape[0])
        if stored.precision.dtype == "fp16":
            name, shape = stored.tensors[0], (*rows, stored.columns)
            half = self._graph.stored(f"{name}/all", "float16", shape, stored.codes)
            return Experts(stored.precision, 0, self.to_floats(half, f"{name}/wide"))
        parts = self._parts(stored, rows, flat=True)
        return Experts(stored.precision, block_size(stored.precision, stored.columns), *parts)

    def to_floats(self, x: str, name: str) -> str:
        """Cast float16 to the type of activations, unless that is float16."""
        if self._floats == "float16":
            return x
        return self._graph.add("Cast", [x], name=name, to=FLOAT_TYPES[self._floats])

    def _quantized(self, stored: PackedWeight, rank: int) -> list[str]:
        return self._parts(stored, (stored.rows,), flat=rank == 2)

    def _parts(self, stored: PackedWeight, rows: tuple[int, ...], *, flat: bool) -> list[str]:
        """Names of codes, scales and, if there are any, zero points.

        With *flat*, codes are [*rows, bytes], otherwise [*rows, blocks, bytes]: the same bytes.
        """
        precision, name = stored.precision, stored.tensors[0]
        size = block_size(precision, stored.columns)
        blocks = -(-stored.columns // size)
        block_bytes = size * precision.bits // 8
        tail = (blocks * block_bytes,) if flat else (blocks, block_bytes)
        suffix = "rows" if flat else "blocks"
        parts = [self._stored(f"{name}/{suffix}", "uint8", (*rows, *tail), stored.codes)]
        if stored.scales:
            shape = (*rows, blocks)
            parts.append(self._stored(f"{name}/scales", self._floats, shape, stored.scales))
        if stored.zero_points:
            shape = (*rows, -(-blocks * precision.bits // 8))
            parts.append(self._stored(f"{name}/zero_points", "uint8", shape, stored.zero_points))
        return parts

    def _stored(self, name: str, dtype: str, shape: Sequence[int], span: Span) -> str:
        return self._graph.stored(name, dtype, shape, span)

    def _float(self, stored: PackedWeight) -> str:
        shape = (stored.rows, stored.columns)
        return self._graph.stored(stored.tensors[0], "float16", shape, stored.codes)

    def _float_transposed(self, stored: PackedWeight) -> str:
        """The weight as [K, N] in the type of activations; the runtime folds the nodes at load."""
        name = stored.tensors[0]
        if name not in self._transposed:
            wide = self.to_floats(self._float(stored), f"{name}/wide")
            self._transposed[name] = self._graph.add(
                "Transpose", [wide], name=f"{name}/transposed", perm=[1, 0]
            )
        return self._transposed[name]


def _layer(weight: str) -> str:
    return weight.removesuffix(".weight")
