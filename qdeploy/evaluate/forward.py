"""Qwen3 and Qwen3-MoE in NumPy, float32: the reference that quantized models are held against.

It is written from transformers' `modeling_qwen3.py` and `modeling_qwen3_moe.py`, apart from the
description that the exporters build graphs from: a mistake in one of them shows as a difference.

All sequences go through layer 0, then layer 1, and so on. Each block of a weight's rows is read
once and let go, so memory is that of the hidden states, [tokens, width], and of one block: it does
not grow with the number of layers or experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.decoder import Config
from qdeploy.checkpoint.weights import WeightReader

Floats = NDArray[np.float32]

QUERIES = 256
"""Queries whose scores exist at a time: float32 [heads that share a key, 256, tokens]."""

EMBEDDING, HEAD, LAST_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


class Forward:
    """The model of an opened checkpoint."""

    def __init__(self, source: WeightReader, config: Config) -> None:
        self._source, self._config = source, config

    def hidden(
        self, sequences: Sequence[Sequence[int]], progress: Callable[[int, int], None]
    ) -> list[Floats]:
        """Hidden states after the last norm, float32 [T, H], of each sequence of T token ids.

        *progress* is told how many layers are done, and of how many.

        Raises:
            CheckpointError: a weight is infinite or not a number.
        """
        lengths = [len(ids) for ids in sequences]
        x = self._embed([token for ids in sequences for token in ids])
        for layer in range(self._config.layers):
            progress(layer, self._config.layers)
            self._layer(layer, x, lengths)
        progress(self._config.layers, self._config.layers)
        return np.split(self._norm(x, LAST_NORM), np.cumsum(lengths)[:-1])

    def logits(self, hidden: Floats) -> Floats:
        """Logits, float32 [T, V], of hidden states [T, H]."""
        return self._linear(hidden, EMBEDDING if self._config.tied else HEAD)

    def _embed(self, ids: Sequence[int]) -> Floats:
        x = np.empty((len(ids), self._config.hidden), np.float32)
        for token in set(ids):
            x[np.equal(ids, token)] = self._source.rows(EMBEDDING, token, token + 1)
        return x

    def _layer(self, layer: int, x: Floats, lengths: Sequence[int]) -> None:
        """Add what the layer says to *x*, [tokens, H]."""
        prefix = f"model.layers.{layer}."
        x += self._attention(
            prefix + "self_attn.", self._norm(x, prefix + "input_layernorm.weight"), lengths
        )
        normed = self._norm(x, prefix + "post_attention_layernorm.weight")
        sparse = layer in self._config.sparse_layers
        x += (self._experts if sparse else self._mlp)(prefix + "mlp.", normed)

    def _linear(self, x: Floats, weight: str) -> Floats:
        """Multiply [tokens, K] by a weight [N, K], a block of its rows at a time."""
        out = np.empty((len(x), self._source.shape(weight)[0]), np.float32)
        for start, rows in self._source.blocks(weight):
            out[:, start : start + len(rows)] = x @ rows.T
        return out

    def _norm(self, x: Floats, weight: str) -> Floats:
        """RMS norm over the last axis."""
        mean = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
        scale = 1 / np.sqrt(mean + np.float32(self._config.epsilon))
        return np.asarray(x * scale * self._source.rows(weight), np.float32)

    def _attention(self, prefix: str, x: Floats, lengths: Sequence[int]) -> Floats:
        size = self._config.head_dim
        query, key, value = (
            self._linear(x, f"{prefix}{name}_proj.weight").reshape(len(x), -1, size)
            for name in "qkv"
        )
        query = self._norm(query, prefix + "q_norm.weight")
        key = self._norm(key, prefix + "k_norm.weight")
        start = 0
        for length in lengths:
            end = start + length
            for heads in (query, key):
                heads[start:end] = self._rotated(heads[start:end])
            # the attended values take the place of the queries, which are not needed again
            _attend(query[start:end], key[start:end], value[start:end])
            start = end
        return self._linear(query.reshape(len(x), -1), prefix + "o_proj.weight")

    def _rotated(self, x: Floats) -> Floats:
        """Rotate heads, [tokens, heads, D], by their positions from 0 on."""
        rope = self._config.rope
        angles = np.arange(len(x), dtype=np.float32)[:, None, None] * rope.frequencies
        cos, sin = (f(angles) * np.float32(rope.attention_factor) for f in (np.cos, np.sin))
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _mlp(self, prefix: str, x: Floats) -> Floats:
        inner = self._linear(x, prefix + "gate_proj.weight")
        for start, rows in self._source.blocks(prefix + "up_proj.weight"):
            part = inner[:, start : start + len(rows)]
            part[:] = _silu(part) * (x @ rows.T)
        return self._linear(inner, prefix + "down_proj.weight")

    def _experts(self, prefix: str, x: Floats) -> Floats:
        """Each token's chosen experts, weighed. An expert that no token chose is not read."""
        shares = _softmax(self._linear(x, prefix + "gate.weight"))
        best = np.argsort(-shares, axis=-1, kind="stable")[:, : self._config.chosen]
        weights = np.zeros_like(shares)
        np.put_along_axis(weights, best, np.take_along_axis(shares, best, -1), -1)
        if self._config.renormalize:
            weights /= weights.sum(axis=-1, keepdims=True)
        chosen = np.zeros(shares.shape, bool)
        np.put_along_axis(chosen, best, True, -1)
        out = np.zeros_like(x)
        for expert in np.flatnonzero(chosen.any(axis=0)):
            tokens = np.flatnonzero(chosen[:, expert])
            said = self._mlp(f"{prefix}experts.{expert}.", x[tokens])
            out[tokens] += weights[tokens, expert, None] * said
        return out


def _attend(query: Floats, key: Floats, value: Floats) -> None:
    """Replace queries, [T, heads, D], by what they attend to in keys and values, [T, kv, D]."""
    length, heads, size = query.shape
    shared_by = heads // key.shape[1]
    for pair in range(key.shape[1]):
        group = slice(pair * shared_by, (pair + 1) * shared_by)
        keys, values = (np.ascontiguousarray(a[:, pair]) for a in (key, value))
        for start in range(0, length, QUERIES):
            end = min(start + QUERIES, length)
            asked = query[start:end, group].swapaxes(0, 1).reshape(-1, size)  # [heads * queries, D]
            scores = (asked @ keys[:end].T / np.float32(np.sqrt(size))).reshape(shared_by, -1, end)
            scores[:, np.arange(end) > np.arange(start, end)[:, None]] = -np.inf
            said = _softmax(scores).reshape(-1, end) @ values[:end]
            query[start:end, group] = said.reshape(shared_by, -1, size).swapaxes(0, 1)


def _softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def _silu(x: Floats) -> Floats:
    with np.errstate(over="ignore"):  # exp of a very negative x is infinite, and the result 0
        return np.asarray(x / (1 + np.exp(-x)), np.float32)
