"""The static emitter: `Builder` with ONNX's own operators, every shape a constant.

There is one sequence, so tokens are rows: [L, H]. Where float16 flows between operators, norms are
computed in float32: squares of Qwen3's activations are beyond float16's range.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from qdeploy.exporters.native.blob import Blob
from qdeploy.exporters.native.builder import Builder, Expert
from qdeploy.exporters.native.config import Config
from qdeploy.exporters.native.onnx.graph import FLOAT_TYPES, Graph
from qdeploy.exporters.native.onnx.plain import PlainAttention, turns
from qdeploy.exporters.native.onnx_static.weights import Weights

OPSET = 15
"""The newest that every release of ONNX Runtime's CANN provider takes (its `cann_graph.cc`)."""


class StaticBuilder(Builder[str]):
    """Builds the graph of one pass over *tokens* tokens with a cache of *context*.

    Inputs are `input_ids` and `position_ids` int64 [1, L]; `attention_bias` [1, 1, L, C], which is
    added to attention's logits: 0 where a position of the cache may be seen, -30000 where not; and
    `past_key_values.N.key` and `.value` [1, kv heads, C, D]. Outputs are `logits` [1, L,
    vocabulary] and `present.N.key` and `.value`, the cache with this pass' tokens at their
    positions.
    """

    def __init__(
        self,
        config: Config,
        blob: Blob,
        *,
        tokens: int,
        context: int,
        floats: str,
        dequantizes: bool,
        accuracy_level: int,
    ) -> None:
        self.graph = Graph(blob, "model.onnx.data", opset=OPSET)
        self._config, self._tokens, self._context, self._floats = config, tokens, context, floats
        self._weights = Weights(
            self.graph, blob, floats, dequantizes=dequantizes, accuracy_level=accuracy_level
        )
        self._ids = self.graph.input("input_ids", "int64", [1, tokens])
        self._positions = self.graph.input("position_ids", "int64", [1, tokens])
        bias = self.graph.input("attention_bias", floats, [1, 1, tokens, context])
        self._attention = PlainAttention(
            self.graph, config, floats,
            turns=turns(self.graph, config, self._positions, context, floats),
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

    def head_norm(self, x: str, weight: str, heads: int) -> str:
        size = self._config.head_dim
        normed = self.rms_norm(self._reshape(x, [self._tokens, heads, size]), weight)
        return self._reshape(normed, [self._tokens, heads * size])

    def linear(self, x: str, weight: str) -> str:
        return self._weights.multiply(x, weight)

    def attention(self, layer: int, query: str, key: str, value: str) -> str:
        attended = self._attention.layer(layer, query, key, value)
        return self._reshape(attended, [self._tokens, self._config.heads * self._config.head_dim])

    def gated(self, gate: str, up: str) -> str:
        return self.graph.add("Mul", [self._silu(gate), up])

    def experts(self, x: str, router: str, experts: Sequence[Expert]) -> str:
        """Send every token through every expert, weighing most of the results with zero.

        Weights [E, N, K] are multiplied from the left, as they are, with tokens as columns.
        """
        graph, weights = self.graph, self._weights
        columns = graph.add("Transpose", [x], perm=[1, 0])
        gate = graph.add("MatMul", [weights.stack([e.gate for e in experts]), columns])
        up = graph.add("MatMul", [weights.stack([e.up for e in experts]), columns])
        inner = graph.add("Mul", [self._silu(gate), up])
        said = graph.add("MatMul", [weights.stack([e.down for e in experts]), inner])
        share = self._shares(weights.multiply(x, router))
        weighed = graph.add("Mul", [said, share])
        total = graph.add("ReduceSum", [weighed, graph.i64([0])], keepdims=0)
        name = router.removesuffix("gate.weight") + "experts"
        return graph.add("Transpose", [total], name=name, perm=[1, 0])

    def add(self, x: str, y: str) -> str:
        return self.graph.add("Add", [x, y])

    def logits(self, x: str, weight: str) -> None:
        rows = self._weights.multiply(x, weight)
        shape = [1, self._tokens, self._config.vocabulary]
        self.graph.add("Reshape", [rows, self.graph.i64(shape)], output="logits")
        self.graph.output("logits", self._floats, shape)

    def _shares(self, logits: str) -> str:
        """How much of each expert's answer a token takes, [E, 1, L]; from the router's [L, E]."""
        graph, config = self.graph, self._config
        likely = graph.add("Softmax", [logits], axis=-1)
        best, which = f"{logits}/best", f"{logits}/which"
        inputs = [likely, graph.i64([config.chosen])]
        graph.add_many("TopK", inputs, [best, which], name=f"{logits}/chosen", axis=-1)
        if config.renormalize:
            total = graph.add("ReduceSum", [best, graph.i64([-1])], keepdims=1)
            best = graph.add("Div", [best, total])
        spread = graph.add("ScatterElements", [self._nothing, which, best], axis=1)
        by_expert = graph.add("Transpose", [spread], perm=[1, 0])
        return graph.add("Unsqueeze", [by_expert, graph.i64([1])])

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

    @cached_property
    def _nothing(self) -> str:
        import numpy as np

        return self.graph.constant(np.zeros((self._tokens, self._config.experts), self._floats))

    def _silu(self, x: str) -> str:
        return self.graph.add("Mul", [x, self.graph.add("Sigmoid", [x])])

    def _cast(self, x: str, dtype: str) -> str:
        return (
            x if self._floats == "float32" else self.graph.add("Cast", [x], to=FLOAT_TYPES[dtype])
        )

    def _number(self, value: float) -> str:
        import numpy as np

        return self.graph.constant(np.asarray(value, np.float32))

    def _reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.graph.add("Reshape", [x, self.graph.i64(list(shape))])
