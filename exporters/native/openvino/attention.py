"""Attention with rotation, in the form that each plugin fuses to one operator.

Three fusions depend on the exact form: RoPE (two a layer); on the CPU, the cache inside of
`ScaledDotProductAttention`, which replaces ReadValue, Gather, Concat and Assign; and the
transformation of openvino-genai to paged attention, which replaces mask, positions and cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from qdeploy.architectures.graph import GraphConfig
from qdeploy.exporters.native.openvino.ir import Value
from qdeploy.exporters.native.openvino.operations import DYNAMIC, Operations

TO_THE_END = 2**63 - 1
MASKED = -65504.0
"""Added to the logits of masked tokens: the lowest number in float16."""


class Attention(ABC):
    """The parts that all layers share (cosine and sine), and each layer's own part.

    Args:
        ids: input tokens, int64 [B, L].
        positions: of the input tokens, int64 [B or 1, L].
    """

    def __init__(self, ops: Operations, config: GraphConfig, ids: Value, positions: Value) -> None:
        self._ops, self._config = ops, config
        self._ids, self._positions = ids, positions

    def layer(self, number: int, query: Value, key: Value, value: Value) -> Value:
        """Query, key and value are [B, L, heads, D] or [B, L, heads * D]."""
        ops, config = self._ops, self._config
        query = self._rotate(self._heads_first(query, config.heads))
        key = self._rotate(self._heads_first(key, config.kv_heads))
        value = self._heads_first(value, config.kv_heads)
        keys = self._repeat(self._with_cache(f"{number}.key", key))
        values = self._repeat(self._with_cache(f"{number}.value", value))
        scale = ops.f32(config.head_dim**-0.5)
        attended = ops.graph.add(
            "ScaledDotProductAttention", [query, keys, values, self._bias, scale], "f32",
            query.shape, name=f"model.layers.{number}.self_attn", opset="opset13", causal=False,
        )  # fmt: skip
        together = ops.transpose(attended, [0, 2, 1, 3])
        return ops.reshape(together, [0, 0, config.heads * config.head_dim])

    @abstractmethod
    def _with_cache(self, which: str, new: Value) -> Value:
        """Keys or values of all tokens that a query may see, [B, kv heads, T, D]."""

    @property
    @abstractmethod
    def _bias(self) -> Value:
        """0 for keys visible to a query and `MASKED` for others, float32 [B or 1, 1, L, T]."""

    @property
    @abstractmethod
    def _length(self) -> Value:
        """T, int64 [1]."""

    def _heads_first(self, x: Value, heads: int) -> Value:
        """Reshape [B, L, heads * D] or [B, L, heads, D] to [B, heads, L, D]."""
        if len(x.shape) == 3:
            x = self._ops.reshape(x, [0, 0, heads, self._config.head_dim])
        return self._ops.transpose(x, [0, 2, 1, 3])

    def _rotate(self, x: Value) -> Value:
        """Rotate x [B, heads, L, D]: x * cos + (-second half, first half of x) * sin."""
        ops, half = self._ops, self._config.head_dim // 2
        cosine, sine = self._rotary_tables
        second = ops.slice_last(x, half, TO_THE_END, half)
        first = ops.slice_last(x, 0, half, half)
        swapped = ops.concat([ops.elementwise("Multiply", second, ops.f32(-1.0)), first], -1)
        kept = ops.elementwise("Multiply", x, cosine)
        return ops.elementwise("Add", kept, ops.elementwise("Multiply", swapped, sine))

    def _repeat(self, x: Value) -> Value:
        """Copy each key-value head for every query head that shares it (GQA)."""
        ops, config = self._ops, self._config
        repeats = config.heads // config.kv_heads
        if repeats == 1:
            return x
        shape = (DYNAMIC, config.kv_heads, repeats, DYNAMIC, config.head_dim)
        outer = ops.gather(ops.shape_of(x), ops.i64([0, 1]), 0)
        target = ops.concat(
            [outer, ops.i64([repeats]), self._length, ops.i64([config.head_dim])], 0
        )
        copies = ops.broadcast(ops.unsqueeze(x, 2), target, shape, mode="bidirectional")
        return ops.reshape(copies, [0, config.heads, -1, config.head_dim])

    @cached_property
    def _rotary_tables(self) -> tuple[Value, Value]:
        """Cosine and sine of every position, float32 [B, 1, L, D]."""
        ops, rope = self._ops, self._config.rope
        frequencies = ops.f32(rope.frequencies.reshape(1, -1, 1))
        positions = ops.convert(ops.unsqueeze(self._positions, 1), "f32")
        half = ops.transpose(ops.matmul(frequencies, positions, transpose=False), [0, 2, 1])
        angles = ops.concat([half, half], -1)
        return self._rotary_table("Cos", angles), self._rotary_table("Sin", angles)

    def _rotary_table(self, kind: str, angles: Value) -> Value:
        ops, factor = self._ops, self._config.rope.attention_factor
        turned = ops.unary(kind, angles)
        if factor != 1.0:
            turned = ops.elementwise("Multiply", turned, ops.f32(factor))
        return ops.unsqueeze(turned, 1)


class CachedAttention(Attention):
    """Attention of a stateful graph: the cache lives in the runtime's variables.

    Args:
        mask: 1 for a visible token, int64 [B, T], over cache and input tokens.
        beams: the cached sequence that each sequence continues, int32 [B].
    """

    def __init__(
        self,
        ops: Operations,
        config: GraphConfig,
        ids: Value,
        positions: Value,
        mask: Value,
        beams: Value,
    ) -> None:
        super().__init__(ops, config, ids, positions)
        self._mask, self._beams = mask, beams

    def _with_cache(self, which: str, new: Value) -> Value:
        """The variable's content and *new*."""
        ops, graph = self._ops, self._ops.graph
        heads, size = self._config.kv_heads, self._config.head_dim
        variable = f"past_key_values.{which}present.{which}"
        shape = (DYNAMIC, heads, DYNAMIC, size)
        past = graph.add(
            "ReadValue", [self._empty], "f32", shape, opset="opset6", name=f"past.{which}",
            variable_id=variable, variable_type="f32", variable_shape=f"?,{heads},?,{size}",
        )  # fmt: skip
        now = ops.concat([ops.gather(past, self._beams, 0), new], -2)
        graph.add(
            "Assign", [now], "f32", shape, opset="opset6", name=f"present.{which}",
            variable_id=variable,
        )  # fmt: skip
        return now

    @cached_property
    def _batch(self) -> Value:
        """B, int64 [1]."""
        return self._ops.gather(self._ops.shape_of(self._ids), self._ops.i64([0]), 0)

    @cached_property
    def _length(self) -> Value:
        return self._ops.gather(self._ops.shape_of(self._mask), self._ops.i64([1]), 0)

    @cached_property
    def _empty(self) -> Value:
        """The cache before the first token, float32 [B, kv heads, 0, D]."""
        ops, config = self._ops, self._config
        rest = [ops.i64([n]) for n in (config.kv_heads, 0, config.head_dim)]
        shape = (DYNAMIC, config.kv_heads, 0, config.head_dim)
        return ops.broadcast(ops.f32(0.0), ops.concat([self._batch, *rest], 0), shape)

    @cached_property
    def _bias(self) -> Value:
        ops = self._ops
        total = ops.gather(ops.shape_of(self._mask), ops.i64(1), 0)
        new = ops.gather(ops.shape_of(self._ids), ops.i64(1), 0)
        keys = ops.range(ops.i64(0), total)
        queries = ops.range(ops.elementwise("Subtract", total, new), total)
        causal = ops.elementwise(
            "LessEqual", ops.reshape(keys, [1, 1, 1, -1]), ops.reshape(queries, [1, 1, -1, 1])
        )
        seen = ops.unsqueeze(ops.unsqueeze(ops.convert(self._mask, "boolean"), 1), 1)
        visible = ops.elementwise("LogicalAnd", causal, seen)
        return ops.select(visible, ops.f32(0.0), ops.f32(MASKED))


class WholeAttention(Attention):
    """Attention of a graph that sees whole sequences in one pass, padded at their ends.

    No token sees a later one, so padding needs no mask.
    """

    def __init__(self, ops: Operations, config: GraphConfig, ids: Value) -> None:
        length = ops.gather(ops.shape_of(ids), ops.i64(1), 0)
        super().__init__(ops, config, ids, ops.unsqueeze(ops.range(ops.i64(0), length), 0))

    def _with_cache(self, which: str, new: Value) -> Value:
        return new

    @cached_property
    def _bias(self) -> Value:
        ops = self._ops
        places = ops.reshape(self._positions, [1, 1, 1, -1])
        causal = ops.elementwise("LessEqual", places, ops.reshape(places, [1, 1, -1, 1]))
        return ops.select(causal, ops.f32(0.0), ops.f32(MASKED))

    @cached_property
    def _length(self) -> Value:
        return self._ops.gather(self._ops.shape_of(self._ids), self._ops.i64([1]), 0)
