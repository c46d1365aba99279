"""The static-shape graph builder: standard ONNX operators, every shape a constant.

There is one sequence, so tokens are rows: [L, H]. With float16 activations, norms are computed in
float32: squares of Qwen3's activations exceed the range of float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear
from qdeploy.exporters.native.onnx.graph import FLOAT_TYPES, Graph
from qdeploy.exporters.native.onnx.moe import routing_weights, silu, unrolled_experts
from qdeploy.exporters.native.onnx.plain import PlainAttention, rotary_tables
from qdeploy.exporters.native.onnx_static.weights import Weights
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.planning.formats import ONNX_STATIC

OPSET = 15
"""The newest that every release of ONNX Runtime's CANN provider takes (its `cann_graph.cc`)."""


class StaticBuilder(Builder[str]):
    """Builds the graph of one pass over *tokens* tokens with a cache of *context*.

    Inputs are `input_ids` and `position_ids` int64 [1, L]; `attention_bias` [1, 1, L, C], which is
    added to attention's logits: 0 for a visible position of the cache, `ONNX_MASKED` for others;
    and `past_key_values.N.key` and `.value` [1, kv heads, C, D]. Outputs are `logits` [1, L,
    vocabulary] and `present.N.key` and `.value`, the cache with this pass' tokens at their
    positions.
    """

    def __init__(
        self,
        config: GraphConfig,
        layout: WeightsLayout,
        *,
        tokens: int,
        context: int,
        floats: str,
        dequantizes: bool,
        accuracy_level: int,
    ) -> None:
        self.graph = Graph(layout, ONNX_STATIC.files["weights"], opset=OPSET)
        self._config, self._tokens, self._context, self._floats = config, tokens, context, floats
        self._weights = Weights(
            self.graph, layout, floats, dequantizes=dequantizes, accuracy_level=accuracy_level
        )
        self._ids = self.graph.input("input_ids", "int64", [1, tokens])
        self._positions = self.graph.input("position_ids", "int64", [1, tokens])
        bias = self.graph.input("attention_bias", floats, [1, 1, tokens, context])
        self._attention = PlainAttention(
            self.graph, config, floats,
            rotary=rotary_tables(self.graph, config, self._positions, context, floats),
            bias=bias, lead=[1, tokens], cache=self._with_cache,
        )  # fmt: skip

    def embedding(self, weight: str) -> str:
        return self._weights.look_up(weight, self._reshape(self._ids, [self._tokens]))

    def rms_norm(self, x: str, weight: str) -> str:
        graph, name = self.graph, weight.removesuffix(".weight")
        wide = self._cast(x, "float32")
        mean = graph.add("ReduceMean", [graph.add("Mul", [wide, wide])], axes=[-1], keepdims=1)
        root = graph.add("Sqrt", [graph.add("Add", [mean, self._number(self._config.epsilon)])])
        normed = self._cast(graph.add("Div", [wide, root]), self._floats)
        return graph.add("Mul", [normed, self._weights.vector(weight)], name=name)

    def qk_norm(self, x: str, weight: str, heads: int) -> str:
        size = self._config.head_dim
        normed = self.rms_norm(self._reshape(x, [self._tokens, heads, size]), weight)
        return self._reshape(normed, [self._tokens, heads * size])

    def linear(self, x: str, layer: Linear) -> str:
        return self._weights.multiply(x, layer.weight, bias=layer.bias)

    def attention(self, layer: int, query: str, key: str, value: str) -> str:
        attended = self._attention.layer(layer, query, key, value)
        return self._reshape(attended, [self._tokens, self._config.heads * self._config.head_dim])

    def swiglu(self, gate: str, up: str) -> str:
        return self.graph.add("Mul", [silu(self.graph, gate), up])

    def experts(self, x: str, router: str, experts: Sequence[Expert]) -> str:
        graph, prefix = self.graph, router.removesuffix("gate.weight")
        routing = routing_weights(
            graph, self._config, self._weights.multiply(x, router), self._floats
        )
        together = ([e.gate for e in experts], [e.up for e in experts], [e.down for e in experts])
        if not all(map(self._weights.stackable, together)):
            multiply = self._weights.multiply
            return unrolled_experts(graph, multiply, x, routing, experts, f"{prefix}experts")
        return self._stacked(x, routing, experts, f"{prefix}experts")

    def _stacked(self, x: str, routing: str, experts: Sequence[Expert], name: str) -> str:
        """All experts in three products.

        Weights [E, N, K] are multiplied from the left, as they are, with tokens as columns.
        """
        graph, weights = self.graph, self._weights
        columns = graph.add("Transpose", [x], perm=[1, 0])
        gate = graph.add("MatMul", [weights.stack([e.gate for e in experts]), columns])
        up = graph.add("MatMul", [weights.stack([e.up for e in experts]), columns])
        inner = graph.add("Mul", [silu(graph, gate), up])
        output = graph.add("MatMul", [weights.stack([e.down for e in experts]), inner])
        by_expert = graph.add("Transpose", [routing], perm=[1, 0])
        weighed = graph.add("Mul", [output, graph.add("Unsqueeze", [by_expert, graph.i64([1])])])
        total = graph.add("ReduceSum", [weighed, graph.i64([0])], keepdims=0)
        return graph.add("Transpose", [total], name=name, perm=[1, 0])

    def add(self, x: str, y: str) -> str:
        return self.graph.add("Add", [x, y])

    def logits(self, x: str, weight: str) -> None:
        rows = self._weights.multiply(x, weight)
        shape = [1, self._tokens, self._config.vocab_size]
        self.graph.add("Reshape", [rows, self.graph.i64(shape)], output="logits")
        self.graph.output("logits", self._floats, shape)

    def _with_cache(self, which: str, new: str) -> str:
        """Write the new tokens into the cache at their positions."""
        config, graph = self._config, self.graph
        shape = [1, config.kv_heads, self._context, config.head_dim]
        past = graph.input(f"past_key_values.{which}", self._floats, shape)
        graph.output(f"present.{which}", self._floats, shape)
        places = [past, self._places, new]
        return graph.add("ScatterElements", places, output=f"present.{which}", axis=2)

    @cached_property
    def _places(self) -> str:
        """Positions of the pass' tokens for every element of theirs, [1, kv heads, L, D]."""
        config, graph = self._config, self.graph
        column = self._reshape(self._positions, [1, 1, self._tokens, 1])
        shape = [1, config.kv_heads, self._tokens, config.head_dim]
        return graph.add("Expand", [column, graph.i64(shape)], name="places")

    def _cast(self, x: str, dtype: str) -> str:
        return (
            x if self._floats == "float32" else self.graph.add("Cast", [x], to=FLOAT_TYPES[dtype])
        )

    def _number(self, value: float) -> str:
        import numpy as np

        return self.graph.constant(np.asarray(value, np.float32))

    def _reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.graph.add("Reshape", [x, self.graph.i64(list(shape))])
