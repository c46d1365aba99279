"""The float reference: an architecture's graph computed in NumPy, float32, as it is described.

`NumpyBuilder` is a `Builder` like those of the bundle formats, so every architecture of the table
has a reference. The tests compare it with transformers, and with a second forward in NumPy.

All sequences go through layer 0, then layer 1, and so on. Each block of a weight's rows is read
once and then released, so memory is that of the hidden states, [tokens, width], and of one block:
it does not grow with the number of layers or experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.base import SCORE, Architecture
from qdeploy.architectures.graph import SHORTEST, Builder, Expert, GraphConfig, Linear
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import attend, multiply, rms_norm, rotate, routing, silu

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of layers that are done, and of all."""


class Forward:
    """The model of an opened checkpoint."""

    def __init__(
        self, source: WeightReader, architecture: Architecture, config: GraphConfig
    ) -> None:
        self._source, self._architecture, self._config = source, architecture, config

    def hidden(self, sequences: Sequence[Sequence[int]], progress: Progress) -> list[Floats]:
        """Hidden states after the last norm, float32 [T, H], of each sequence of T token ids.

        Raises:
            CheckpointError: a weight is infinite or not a number.
        """
        build = NumpyBuilder(self._source, self._config, sequences, progress)
        hidden = build.value(self._architecture.hidden(build, self._config))
        progress(self._config.layers, self._config.layers)
        return np.split(hidden, np.cumsum([len(ids) for ids in sequences])[:-1])

    def encode(self, sequences: Sequence[Sequence[int]], progress: Progress) -> Floats:
        """Embeddings [B, H] or scores [B, rows] of the last tokens, float32; see `Encoder.encode`.

        Raises:
            CheckpointError: a weight is infinite or not a number.
        """
        return self.pooled([hidden[-1] for hidden in self.hidden(sequences, progress)])

    def pooled(self, states: Sequence[Floats]) -> Floats:
        """Embeddings or scores of the last tokens' hidden states, each [H]; see `encode`."""
        last = np.stack(states)
        if self._config.task.name == "rerank":
            return multiply(self._source, last, SCORE)
        if not self._config.task.normalize:
            return last
        length = np.linalg.norm(last, axis=1, keepdims=True)
        return np.asarray(last / np.maximum(length, SHORTEST), np.float32)

    def logits(self, hidden: Floats) -> Floats:
        """Logits, float32 [T, V], of hidden states [T, H]."""
        return multiply(self._source, hidden, self._architecture.head(self._config))


@dataclass(frozen=True)
class Product:
    """A linear layer of *x* that is not computed yet: `swiglu` then does it block by block."""

    x: Floats
    layer: Linear


Value = Floats | Product


class NumpyBuilder(Builder[Value]):
    """Computes each operation when it is built. Tokens of all sequences are rows: [tokens, H]."""

    def __init__(
        self,
        source: WeightReader,
        config: GraphConfig,
        sequences: Sequence[Sequence[int]],
        progress: Progress,
    ) -> None:
        self._source, self._config, self._progress = source, config, progress
        self._ids = [token for ids in sequences for token in ids]
        self._lengths = [len(ids) for ids in sequences]

    def value(self, x: Value) -> Floats:
        """The array that *x* stands for."""
        if not isinstance(x, Product):
            return x
        out = multiply(self._source, x.x, x.layer.weight)
        if x.layer.bias:
            out += self._source.rows(x.layer.bias)
        return out

    def embedding(self, weight: str) -> Value:
        x = np.empty((len(self._ids), self._config.hidden), np.float32)
        for token in set(self._ids):
            x[np.equal(self._ids, token)] = self._source.rows(weight, token, token + 1)
        return x

    def rms_norm(self, x: Value, weight: str) -> Value:
        return self._norm(self.value(x), weight)

    def qk_norm(self, x: Value, weight: str, heads: int) -> Value:
        values = self.value(x)
        return self._norm(values.reshape(len(values), heads, -1), weight).reshape(values.shape)

    def linear(self, x: Value, layer: Linear) -> Value:
        return Product(self.value(x), layer)

    def attention(self, layer: int, query: Value, key: Value, value: Value) -> Value:
        self._progress(layer, self._config.layers)
        q, k, v = (
            self.value(x).reshape(len(self._ids), -1, self._config.head_dim)
            for x in (query, key, value)
        )
        start = 0
        for length in self._lengths:
            end = start + length
            for heads in (q, k):
                heads[start:end] = rotate(heads[start:end], self._config.rope)
            # the attended values take the place of the queries, which are not needed again
            attend(q[start:end], k[start:end], v[start:end])
            start = end
        return q.reshape(len(q), -1)

    def swiglu(self, gate: Value, up: Value) -> Value:
        inner = self.value(gate)
        if isinstance(up, Product) and up.layer.bias is None:
            for start, rows in self._source.blocks(up.layer.weight):
                part = inner[:, start : start + len(rows)]
                part[:] = silu(part) * (up.x @ rows.T)
            return inner
        return silu(inner) * self.value(up)

    def experts(self, x: Value, router: str, experts: Sequence[Expert]) -> Value:
        """An expert that no token is routed to is not read."""
        tokens = self.value(x)
        weights = routing(multiply(self._source, tokens, router), self._config)
        out = np.zeros_like(tokens)
        for number in np.flatnonzero(weights.any(axis=0)).tolist():
            rows = np.flatnonzero(weights[:, number])
            output = self._expert(tokens[rows], experts[number])
            out[rows] += weights[rows, number, None] * output
        return out

    def add(self, x: Value, y: Value) -> Value:
        return self.value(x) + self.value(y)

    def logits(self, x: Value, weight: str) -> None:
        """Compute nothing: `Forward.logits` does, for the hidden states that are asked for."""

    def _expert(self, x: Floats, expert: Expert) -> Floats:
        gate, up = (Product(x, Linear(name, 0)) for name in (expert.gate, expert.up))
        return multiply(self._source, self.value(self.swiglu(gate, up)), expert.down)

    def _norm(self, x: Floats, weight: str) -> Floats:
        return rms_norm(x, self._source.rows(weight), self._config.epsilon)
