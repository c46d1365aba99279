"""Attention in standard ONNX operators, for engines without a fused attention operator.

Query heads that share a key-value head are concatenated along the token axis, so keys and values
need no copies for each query head. Letters below: R query heads per key-value head, N key-value
heads, L tokens of this pass, T tokens of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qdeploy.architectures.graph import GraphConfig
from qdeploy.exporters.native.onnx.graph import Graph

TO_THE_END = 2**62
Cache = Callable[[str, str], str]
"""Appends new keys or values [B, N, L, D] to the named cache; gives the whole, [B, N, T, D]."""


class PlainAttention:
    """One graph's attention.

    Args:
        rotary: cosine and sine of the positions of this pass, each [B or 1, 1, L, D].
        bias: 0 for visible tokens and `ONNX_MASKED` for others, [B or 1, 1, L, T].
        lead: the shape of tokens without their heads, as `Reshape` takes it: [B, L].
        cache: see `Cache`.
    """

    def __init__(
        self,
        graph: Graph,
        config: GraphConfig,
        floats: str,
        *,
        rotary: tuple[str, str],
        bias: str,
        lead: Sequence[int],
        cache: Cache,
    ) -> None:
        self._graph, self._config, self._floats = graph, config, floats
        self._rotary, self._lead, self._cache = rotary, list(lead), cache
        self._repeats = config.heads // config.kv_heads
        copies = [bias] * self._repeats
        self._bias = graph.add("Concat", copies, name="bias", axis=2)

    def layer(self, number: int, query: str, key: str, value: str) -> str:
        """Attention of query [B, L, heads * D], key and value [B, L, N * D]."""
        graph, config = self._graph, self._config
        name = f"model.layers.{number}.self_attn"
        key = self._rotate(self._heads_first(key, config.kv_heads, f"{name}.key"), f"{name}.key")
        value = self._heads_first(value, config.kv_heads, f"{name}.value")
        keys, values = self._cache(f"{number}.key", key), self._cache(f"{number}.value", value)
        query = self._rotate(
            self._heads_first(query, config.heads, f"{name}.query"), f"{name}.query"
        )
        query = graph.add("Mul", [query, graph.number(config.head_dim**-0.5, self._floats)])
        query = self._reshape(query, [self._lead[0], config.kv_heads, -1, config.head_dim])
        turned = graph.add("Transpose", [keys], perm=[0, 1, 3, 2])
        scores = graph.add("MatMul", [query, turned], name=f"{name}/scores")
        scores = graph.add("Add", [scores, self._bias])
        weights = graph.add("Softmax", [scores], axis=-1)
        attended = graph.add("MatMul", [weights, values], name=f"{name}/attended")
        attended = self._reshape(attended, [self._lead[0], config.heads, -1, config.head_dim])
        attended = graph.add("Transpose", [attended], perm=[0, 2, 1, 3])
        return self._reshape(attended, [*self._lead, config.heads * config.head_dim], name)

    def _heads_first(self, x: str, heads: int, name: str) -> str:
        """Reshape [B, L, heads * D] to [B, heads, L, D]."""
        split = self._reshape(x, [*self._lead, heads, self._config.head_dim])
        return self._graph.add("Transpose", [split], name=name, perm=[0, 2, 1, 3])

    def _rotate(self, x: str, name: str) -> str:
        """Rotate x [B, heads, L, D]: x * cos + (-second half, first half of x) * sin."""
        graph, half = self._graph, self._config.head_dim // 2
        cosine, sine = self._rotary
        swapped = graph.add("Concat", [
            graph.add("Neg", [self._slice(x, half, TO_THE_END)]), self._slice(x, 0, half),
        ], axis=-1)  # fmt: skip
        kept = graph.add("Mul", [x, cosine])
        return graph.add("Add", [kept, graph.add("Mul", [swapped, sine])], name=f"{name}/rotated")

    def _slice(self, x: str, start: int, stop: int) -> str:
        bounds = [self._graph.i64([n]) for n in (start, stop, -1)]
        return self._graph.add("Slice", [x, *bounds])

    def _reshape(self, x: str, shape: Sequence[int], name: str = "") -> str:
        return self._graph.add("Reshape", [x, self._graph.i64(list(shape))], name=name)


def rotary_tables(
    graph: Graph, config: GraphConfig, positions: str, context: int, floats: str
) -> tuple[str, str]:
    """Cosine and sine of *positions* int64 [B, L], each [B, 1, L, D]."""
    import numpy as np

    found = []
    for kind, table in zip(("cos", "sin"), config.rope.table(context), strict=True):
        half = graph.constant(table.astype(np.dtype(floats)), f"{kind}_cache")
        chosen = graph.add("Gather", [half, positions], name=f"{kind}/half", axis=0)
        whole = graph.add("Concat", [chosen, chosen], name=f"{kind}/whole", axis=-1)
        found.append(graph.add("Unsqueeze", [whole, graph.i64([1])], name=kind))
    return found[0], found[1]
