"""The OpenVINO graph builder: subgraphs in the exact forms that the CPU, GPU and NPU plugins fuse.

No documentation guarantees these forms. They come from the plugins' patterns and from the operators
in the runtime graph of compiled models, which the tests count.
"""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.architectures.graph import SHORTEST, Builder, Expert, GraphConfig, Linear
from qdeploy.exporters.native.openvino import moe
from qdeploy.exporters.native.openvino.attention import (
    Attention,
    CachedAttention,
    WholeAttention,
)
from qdeploy.exporters.native.openvino.ir import Graph, Value
from qdeploy.exporters.native.openvino.operations import DYNAMIC, Operations
from qdeploy.exporters.native.openvino.weights import Weights
from qdeploy.exporters.native.weights_file.layout import WeightsLayout


class OpenVINOBuilder(Builder[Value]):
    """Builds a stateful model that generates, or a stateless one of any other task.

    Inputs of the first are `input_ids`, `attention_mask` (over the cache and the new tokens),
    `position_ids`, all int64 [B, tokens], and `beam_idx`, int32 [B]: the cached sequence that each
    one continues. The output is `logits`, float32 [B, L, vocabulary]; the cache lives in the
    runtime's variables.

    Inputs of the other are `input_ids` and `attention_mask`, int64 [B, L], padded at the end. The
    output is `embeddings`, float32 [B, H], or `scores`, float32 [B, rows].
    """

    def __init__(self, config: GraphConfig, layout: WeightsLayout) -> None:
        self.graph = Graph("qdeploy", layout)
        self._config = config
        self._ops = Operations(self.graph)
        self._weights = Weights(self._ops, layout)
        tokens = (DYNAMIC, DYNAMIC)
        self._ids = self._input("input_ids", "i64", tokens)
        self._mask = self._input("attention_mask", "i64", tokens)
        self._attention: Attention
        if config.task.generates:
            positions = self._input("position_ids", "i64", tokens)
            beams = self._input("beam_idx", "i32", (DYNAMIC,))
            self._attention = CachedAttention(
                self._ops, config, self._ids, positions, self._mask, beams
            )
        else:
            self._attention = WholeAttention(self._ops, config, self._ids)

    def embedding(self, weight: str) -> Value:
        return self._ops.gather(self._weights.matrix(weight), self._ids, 0, name=_layer(weight))

    def rms_norm(self, x: Value, weight: str) -> Value:
        """Build x * (1 / sqrt(mean(x^2) + epsilon)) * weight, the form that is fused."""
        ops = self._ops
        square = ops.elementwise("Power", x, ops.f32(2.0))
        mean = ops.reduce("ReduceMean", square, -1, keep=True)
        root = ops.unary("Sqrt", ops.elementwise("Add", mean, ops.f32(self._config.epsilon)))
        inverse = ops.elementwise("Divide", ops.f32(1.0), root)
        gamma = self._weights.vector(weight, rank=len(x.shape))
        normed = ops.elementwise("Multiply", x, inverse)
        return ops.elementwise("Multiply", gamma, normed, name=_layer(weight))

    def qk_norm(self, x: Value, weight: str, heads: int) -> Value:
        """Gives [B, L, heads, D], which `attention` accepts as well as [B, L, heads * D]."""
        split = self._ops.reshape(x, [0, 0, heads, self._config.head_dim])
        return self.rms_norm(split, weight)

    def linear(self, x: Value, layer: Linear) -> Value:
        matrix, name = self._weights.matrix(layer.weight), _layer(layer.weight)
        if layer.bias is None:
            return self._ops.matmul(x, matrix, transpose=True, name=name)
        product = self._ops.matmul(x, matrix, transpose=True)
        bias = self._weights.vector(layer.bias, rank=len(x.shape))
        return self._ops.elementwise("Add", product, bias, name=name)

    def attention(self, layer: int, query: Value, key: Value, value: Value) -> Value:
        return self._attention.layer(layer, query, key, value)

    def swiglu(self, gate: Value, up: Value) -> Value:
        return self._ops.elementwise("Multiply", self._ops.unary("Swish", gate, opset="opset4"), up)

    def experts(self, x: Value, router: str, experts: Sequence[Expert]) -> Value:
        return moe.experts(self._ops, self._weights, self._config, x, router, experts)

    def add(self, x: Value, y: Value) -> Value:
        return self._ops.elementwise("Add", x, y)

    def logits(self, x: Value, weight: str) -> None:
        self._product(x, weight, "lm_head", "logits")

    def embeddings(self, x: Value, *, normalize: bool) -> None:
        made = self._last_token(x, tensor="" if normalize else "embeddings")
        if normalize:
            made = self.graph.add(
                "NormalizeL2", [made, self._ops.i64([1])], "f32", made.shape,
                name="normalized", tensor="embeddings", eps=SHORTEST**2, eps_mode="max",
            )  # fmt: skip
        self.graph.add_many("Result", [made], [], name="embeddings")

    def scores(self, x: Value, layer: Linear) -> None:
        self._product(self._last_token(x), layer.weight, _layer(layer.weight), "scores")

    def _product(self, x: Value, weight: str, name: str, output: str) -> None:
        """Make x times the transposed weight the output of this name."""
        matrix = self._weights.matrix(weight)
        shape = (*x.shape[:-1], matrix.shape[0])
        product = self.graph.add(
            "MatMul", [x, matrix], "f32", shape, name=name, tensor=output,
            transpose_a=False, transpose_b=True,
        )  # fmt: skip
        self.graph.add_many("Result", [product], [], name=output)

    def _last_token(self, x: Value, tensor: str = "") -> Value:
        """The last token of each sequence of x [B, L, H] that is no padding, [B, H]."""
        ops = self._ops
        seen = ops.reduce("ReduceSum", self._mask, 1, keep=False)
        last = ops.elementwise("Subtract", seen, ops.i64(1))
        return ops.gather(x, last, 1, name="last_token", tensor=tensor, batch_dims=1)

    def _input(self, name: str, dtype: str, shape: tuple[int, ...]) -> Value:
        text = ",".join("?" if n == DYNAMIC else str(n) for n in shape)
        return self.graph.add(
            "Parameter", [], dtype, shape, name=name, tensor=name, shape_=text, element_type=dtype
        )


def _layer(weight: str) -> str:
    """The name of the layer that a weight belongs to."""
    return weight.removesuffix(".weight")
