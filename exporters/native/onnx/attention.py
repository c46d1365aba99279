"""Attention of dynamic-shape graphs: ONNX Runtime's fused operator, or standard operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from qdeploy.architectures.graph import GraphConfig
from qdeploy.exporters.native.onnx.graph import INT32_TYPE, MICROSOFT, Graph
from qdeploy.exporters.native.onnx.plain import PlainAttention, rotary_tables
from qdeploy.planning.formats import ONNX_MASKED


class Attention(ABC):
    """Attention of all layers, and the cache as inputs and outputs of a graph that generates.

    A graph of another task has no cache: a sequence is one pass, padded at its end.

    Args:
        ids: input tokens, int64 [B, L].
        mask: int64 [B, T], over cache and input tokens.
        context: positions for which cosine and sine are stored.
    """

    def __init__(
        self, graph: Graph, config: GraphConfig, ids: str, mask: str, *, context: int, floats: str
    ) -> None:
        self._cached = config.task.generates
        self._graph, self._config, self._floats = graph, config, floats
        self._ids, self._mask, self._context = ids, mask, context

    @abstractmethod
    def layer(self, number: int, query: str, key: str, value: str) -> str:
        """Attention of query [B, L, heads * D], key and value [B, L, kv heads * D]."""

    def _past(self, which: str) -> str:
        """Declare the input and the output of a layer's keys or values; returns the input."""
        config, graph = self._config, self._graph
        shapes = [
            ("batch_size", config.kv_heads, tokens, config.head_dim)
            for tokens in ("past_sequence_length", "total_sequence_length")
        ]
        graph.output(f"present.{which}", self._floats, shapes[1])
        return graph.input(f"past_key_values.{which}", self._floats, shapes[0])


class GroupQuery(Attention):
    """`GroupQueryAttention`: one operator with rotation and cache."""

    def layer(self, number: int, query: str, key: str, value: str) -> str:
        config, graph = self._config, self._graph
        kinds = [f"{number}.key", f"{number}.value"]
        past = [self._past(which) if self._cached else "" for which in kinds]
        name = f"model.layers.{number}.self_attn"
        graph.add_many(
            "GroupQueryAttention", [query, key, value, *past, *self._lengths, *self._rotary],
            [name, *(f"present.{which}" for which in kinds)], name=name, domain=MICROSOFT,
            num_heads=config.heads, kv_num_heads=config.kv_heads, scale=config.head_dim**-0.5,
            do_rotary=1, rotary_interleaved=0, local_window_size=-1, softcap=0.0,
        )  # fmt: skip
        return name

    @cached_property
    def _lengths(self) -> tuple[str, str]:
        """Length of each sequence minus one, int32 [B], and the longest length, int32 []."""
        graph = self._graph
        seen = graph.add("ReduceSum", [self._mask, graph.i64([1])], name="seen", keepdims=0)
        last = graph.add("Sub", [seen, graph.i64([1])], name="last")
        shape = graph.add("Shape", [self._mask], name="mask_shape")
        total = graph.add("Gather", [shape, graph.i64(1)], name="total", axis=0)
        return (
            graph.add("Cast", [last], name="seqlens_k", to=INT32_TYPE),
            graph.add("Cast", [total], name="total_sequence_length", to=INT32_TYPE),
        )

    @cached_property
    def _rotary(self) -> tuple[str, str]:
        """Cosine and sine of every position, [context, D / 2]."""
        cosine, sine = self._config.rope.table(self._context)
        return (
            self._graph.constant(cosine.astype(self._floats), "cos_cache"),
            self._graph.constant(sine.astype(self._floats), "sin_cache"),
        )


class Plain(Attention):
    """Standard operators. OpenVINO's provider supports all of them, but not `GroupQueryAttention`.

    The mask must be all ones, but for padding at the end: positions are derived from the shapes.
    """

    def layer(self, number: int, query: str, key: str, value: str) -> str:
        return self._plain.layer(number, query, key, value)

    @cached_property
    def _plain(self) -> PlainAttention:
        graph = self._graph
        total, new = self._length(self._mask, "total"), self._length(self._ids, "new")
        past = graph.add("Sub", [total, new], name="past")
        one = graph.i64(1)
        queries = graph.add("Range", [past, total, one], name="positions")
        keys = graph.add("Range", [graph.i64(0), total, one], name="places")
        column = graph.add("Unsqueeze", [queries, graph.i64([1])])
        later = graph.add("Greater", [keys, column], name="later")
        masked, seen = (graph.number(x, self._floats) for x in (ONNX_MASKED, 0.0))
        bias = graph.add("Where", [later, masked, seen])
        return PlainAttention(
            graph, self._config, self._floats,
            rotary=rotary_tables(
                graph, self._config, graph.add("Unsqueeze", [queries, graph.i64([0])]),
                self._context, self._floats,
            ),
            bias=graph.add("Unsqueeze", [bias, graph.i64([0, 1])]),
            lead=[0, 0], cache=self._with_cache,
        )  # fmt: skip

    def _with_cache(self, which: str, new: str) -> str:
        if not self._cached:
            return new
        parts = [self._past(which), new]
        return self._graph.add("Concat", parts, output=f"present.{which}", axis=2)

    def _length(self, x: str, name: str) -> str:
        """The second size of x, int64 []."""
        graph = self._graph
        shape = graph.add("Shape", [x], name=f"{name}/shape")
        return graph.add("Gather", [shape, graph.i64(1)], name=name, axis=0)


FORMS: dict[str, type[Attention]] = {"gqa": GroupQuery, "plain": Plain}
"""By the name in the profile."""
