"""The contrib graph builder: `Builder` with ONNX Runtime's operators for language models.

The graph equals the one that onnxruntime-genai's own builder makes for Qwen3 (0.18), operator for
operator: its runtime, the execution providers' kernels and their fusions are tuned to that graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qdeploy.architectures.graph import SHORTEST, Builder, Expert, GraphConfig, Linear
from qdeploy.exporters.native.onnx.attention import FORMS
from qdeploy.exporters.native.onnx.graph import FLOAT_TYPES, FLOATS, MICROSOFT, Graph
from qdeploy.exporters.native.onnx.moe import routing_weights, silu, unrolled_experts
from qdeploy.exporters.native.onnx.weights import Experts, Weights
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.planning.formats import ONNX
from qdeploy.planning.profile import Graph as Settings

OPSET = 21
LogitsOf = Literal["last", "repeated", "every"]
"""What the logits of a pass are: of its last token only, [B, 1, vocabulary]; the same at every
place, [B, L, vocabulary], of the last token that is no padding; or of every token."""
EXACT_LEVEL, INT8_LEVEL = 0, 4
"""The accuracy levels that `QMoE` supports."""


@dataclass
class Value:
    """A tensor by its name, or a sum without a node yet, which a norm can fuse."""

    name: str = ""
    summands: tuple[str, str] | None = None


class ContribBuilder(Builder[Value]):
    """Builds a model with the cache as inputs and outputs, which share buffers in the runtime.

    A graph of another task than generation has no cache. Its inputs are `input_ids` and
    `attention_mask`, int64 [B, L], padded at the end; its output is `embeddings`, float32 [B, H],
    or `scores`, float32 [B, rows].

    Inputs otherwise are `input_ids` int64 [B, L], `attention_mask` int64 [B, T], the cache before
    this pass as `past_key_values.N.key` and `.value` [B, kv heads, P, D]. Outputs are `logits`, and
    the cache after this pass, `present.N.key` and `.value` [B, kv heads, T, D].

    Args:
        context: positions for which cosine and sine are stored.
        settings: the profile's choices.
        logits: which tokens the output `logits` is of.
    """

    def __init__(
        self,
        config: GraphConfig,
        layout: WeightsLayout,
        settings: Settings,
        *,
        context: int,
        logits: LogitsOf = "last",
    ) -> None:
        self.graph = Graph(layout, ONNX.files["weights"], opset=OPSET)
        self._config, self._settings, self._logits_of = config, settings, logits
        self._layout = layout
        self._floats = floats = FLOATS[settings.activations]
        self._weights = Weights(self.graph, layout, floats, settings.accuracy_level)
        self._ids = self.graph.input("input_ids", "int64", ["batch_size", "sequence_length"])
        seen = "total_sequence_length" if config.task.generates else "sequence_length"
        self._mask = self.graph.input("attention_mask", "int64", ["batch_size", seen])
        self._attention = FORMS[settings.attention](
            self.graph, config, self._ids, self._mask, context=context, floats=floats
        )

    def embedding(self, weight: str) -> Value:
        return Value(self._weights.look_up(weight, self._ids))

    def rms_norm(self, x: Value, weight: str) -> Value:
        gamma, name = self._weights.vector(weight), weight.removesuffix(".weight")
        epsilon = self._config.epsilon
        if x.summands is None or x.name:
            return Value(self._norm(self._name(x), gamma, name))
        x.name = f"{name}/sum"
        outputs = [name, "", "", x.name]
        self.graph.add_many(
            "SkipSimplifiedLayerNormalization", [*x.summands, gamma], outputs,
            name=name, domain=MICROSOFT, epsilon=epsilon,
        )  # fmt: skip
        return Value(name)

    def qk_norm(self, x: Value, weight: str, heads: int) -> Value:
        size, name = self._config.head_dim, weight.removesuffix(".weight")
        split = self._reshape(self._name(x), [0, -1, size], f"{name}/split")
        normed = self._norm(split, self._weights.vector(weight), name)
        return Value(self._reshape(normed, [0, -1, heads * size], f"{name}/joined"))

    def linear(self, x: Value, layer: Linear) -> Value:
        return Value(self._linear([layer], x))

    def linears(self, x: Value, layers: Sequence[Linear]) -> list[Value]:
        """One product with the rows of all weights, then split."""
        biases = {layer.bias is None for layer in layers}
        forms = {self._layout.form(layer.weight) for layer in layers}
        if len(biases) > 1 or len(forms) > 1:  # there is no bias, or no form, for all rows
            return super().linears(x, layers)
        name = layers[0].weight.removesuffix(".weight") + "/all"
        together = self._linear(layers, x)
        outputs = [f"{name}.{i}" for i in range(len(layers))]
        inputs = [together, self.graph.i64([layer.rows for layer in layers])]
        self.graph.add_many("Split", inputs, outputs, name=name, axis=-1)
        return [Value(output) for output in outputs]

    def _linear(self, layers: Sequence[Linear], x: Value) -> str:
        """Multiply x by the rows of all weights, and add the biases of all."""
        product = self._weights.multiply(self._name(x), [layer.weight for layer in layers])
        biases = [layer.bias for layer in layers if layer.bias]
        if not biases:
            return product
        name = layers[0].weight.removesuffix(".weight") + "/biased"
        return self.graph.add("Add", [product, self._weights.vector(*biases)], name=name)

    def attention(self, layer: int, query: Value, key: Value, value: Value) -> Value:
        tokens = [self._name(x) for x in (query, key, value)]
        return Value(self._attention.layer(layer, *tokens))

    def swiglu(self, gate: Value, up: Value) -> Value:
        activated = silu(self.graph, self._name(gate))
        return Value(self.graph.add("Mul", [activated, self._name(up)], name="swiglu"))

    def experts(self, x: Value, router: str, experts: Sequence[Expert]) -> Value:
        tokens, prefix = self._name(x), router.removesuffix("gate.weight")
        rows = self._reshape(tokens, [-1, self._config.hidden], f"{prefix}tokens")
        logits = self._weights.multiply(rows, [router])
        if self._settings.experts == "unrolled":
            return Value(self._unrolled_experts(tokens, rows, logits, experts, prefix))
        pairs = [name for e in experts for name in (e.gate, e.up)]
        inner = self._weights.experts(pairs, interleaved=2)
        outer = self._weights.experts([e.down for e in experts], interleaved=1)
        add = self._quantized_experts if inner.block else self._float_experts
        return Value(add(tokens, logits, inner, outer, prefix))

    def _unrolled_experts(
        self, x: str, rows: str, logits: str, experts: Sequence[Expert], prefix: str
    ) -> str:
        routing = routing_weights(self.graph, self._config, logits, self._floats)
        total = unrolled_experts(
            self.graph, self._product, rows, routing, experts, f"{prefix}total"
        )
        shape = self.graph.add("Shape", [x], name=f"{prefix}shape")
        return self.graph.add("Reshape", [total, shape], name=f"{prefix}experts")

    def _product(self, x: str, weight: str) -> str:
        return self._weights.multiply(x, [weight])

    def _quantized_experts(
        self, x: str, logits: str, inner: Experts, outer: Experts, prefix: str
    ) -> str:
        """Add `QMoE`, in whose first weight the rows of gate and up alternate.

        It gets the routing weights in addition to the router's logits: from logits alone, the CPU
        kernel scales routing weights to a sum of one even where the config does not.
        """
        likely = self.graph.add("Softmax", [logits], name=f"{prefix}softmax", axis=-1)
        rounds = self._settings.accuracy_level == INT8_LEVEL
        level = INT8_LEVEL if rounds else EXACT_LEVEL
        inputs = [x, logits, inner.codes, inner.scales, "", outer.codes, outer.scales]
        inputs += ["", "", "", "", inner.zero_points, outer.zero_points, "", likely]
        return self.graph.add(
            "QMoE", inputs, name=f"{prefix}experts", domain=MICROSOFT, **self._moe_attributes,
            expert_weight_bits=inner.precision.bits, block_size=inner.block, weights_prepacked=0,
            accuracy_level=level,
        )  # fmt: skip

    def _float_experts(
        self, x: str, logits: str, inner: Experts, outer: Experts, prefix: str
    ) -> str:
        inputs = [x, logits, inner.codes, "", outer.codes]
        return self.graph.add(
            "MoE", inputs, name=f"{prefix}experts", domain=MICROSOFT, **self._moe_attributes
        )

    @property
    def _moe_attributes(self) -> dict[str, Any]:
        """Attributes of the MoE operators: down(silu(gate) * up), SwiGLU with these constants."""
        return {
            "k": self._config.top_k,
            "normalize_routing_weights": int(self._config.renormalize),
            "activation_type": "swiglu",
            "swiglu_fusion": 1,
            "activation_alpha": 1.0,
            "activation_beta": 0.0,
        }

    def add(self, x: Value, y: Value) -> Value:
        return Value(summands=(self._name(x), self._name(y)))

    def logits(self, x: Value, weight: str) -> None:
        tokens = 1 if self._logits_of == "last" else "sequence_length"
        if self._logits_of == "every":
            self._weights.multiply(self._name(x), [weight], output="logits")
        elif self._logits_of == "last":
            last = self.graph.i64([-1])
            row = self.graph.add("Gather", [self._name(x), last], name="last_token", axis=1)
            self._weights.multiply(row, [weight], output="logits")
        else:
            self._repeated_logits(x, weight)
        shape = ("batch_size", tokens, self._config.vocab_size)
        self.graph.output("logits", self._floats, shape)

    def _repeated_logits(self, x: Value, weight: str) -> None:
        """The logits after each sequence's last token, at all of its places in this pass."""
        graph, size = self.graph, self._config.vocab_size
        row = graph.add("Unsqueeze", [self._last_token(x), graph.i64([1])], name="last_row")
        product = self._weights.multiply(row, [weight])
        shape = graph.add("Shape", [self._ids], name="ids_shape")
        wanted = graph.add("Concat", [shape, graph.i64([size])], name="logits_shape", axis=0)
        graph.add("Expand", [product, wanted], output="logits")

    def embeddings(self, x: Value, *, normalize: bool) -> None:
        graph, wide = self.graph, FLOAT_TYPES["float32"]
        output = "" if normalize else "embeddings"
        last = graph.add("Cast", [self._last_token(x)], name="wide", output=output, to=wide)
        if normalize:
            square = graph.add("Mul", [last, last], name="square")
            summed = graph.add("ReduceSum", [square, graph.i64([1])], name="sum", keepdims=1)
            # a sum where other formats take a maximum: every provider has it, and it is as exact
            square = graph.add("Add", [summed, graph.f32(SHORTEST**2)], name="sum/positive")
            graph.add("Div", [last, graph.add("Sqrt", [square], name="length")], name="embeddings")
        graph.output("embeddings", "float32", ("batch_size", self._config.hidden))

    def scores(self, x: Value, layer: Linear) -> None:
        product = self._weights.multiply(self._last_token(x), [layer.weight])
        self.graph.add("Cast", [product], name="scores", to=FLOAT_TYPES["float32"])
        self.graph.output("scores", "float32", ("batch_size", layer.rows))

    def _last_token(self, x: Value) -> str:
        """The last token of each sequence of x [B, L, H] that is no padding, [B, H].

        A mask that also covers a cache counts more tokens than this pass has, unless the pass is
        padded; those are never the tokens after a cache.
        """
        graph, axis = self.graph, self.graph.i64([1])
        count = graph.add("ReduceSum", [self._mask, axis], name="tokens", keepdims=1)
        if self._config.task.generates:
            shape = graph.add("Shape", [self._ids], name="pass_shape")
            length = graph.add("Gather", [shape, axis], name="pass_length", axis=0)
            count = graph.add("Min", [count, length], name="tokens_of_pass")
        last = graph.add("Sub", [count, axis], name="last_place")
        rows = [self._name(x), last]
        return graph.add("GatherND", rows, name="last_token", batch_dims=1)

    def _name(self, x: Value) -> str:
        """The name of a value; a sum that no norm has fused gets its node here."""
        if not x.name and x.summands:
            x.name = self.graph.add("Add", x.summands)
        return x.name

    def _norm(self, x: str, gamma: str, name: str) -> str:
        return self.graph.add(
            "SimplifiedLayerNormalization", [x, gamma], name=name,
            axis=-1, epsilon=self._config.epsilon, stash_type=1,
        )  # fmt: skip

    def _reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        return self.graph.add("Reshape", [x, self.graph.i64(shape)], name=name)
