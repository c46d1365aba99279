"""The arithmetic of a decoder's layers, float32: rows are tokens.

Each function states its operation once, for the forward pass and for calibration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.rope import Rope
from qdeploy.checkpoint.weights import WeightReader

Floats = NDArray[np.float32]

QUERIES = 256
"""Queries whose scores exist at a time: float32 [heads that share a key, 256, tokens]."""


def multiply(source: WeightReader, x: Floats, weight: str) -> Floats:
    """Multiply [tokens, K] by a transposed weight [N, K], a block of its rows at a time."""
    out = np.empty((len(x), source.shape(weight)[0]), np.float32)
    for start, rows in source.blocks(weight):
        out[:, start : start + len(rows)] = x @ rows.T
    return out


def rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    """RMS norm over the last axis, times *weight*."""
    mean = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
    return np.asarray(x * (1 / np.sqrt(mean + np.float32(epsilon))) * weight, np.float32)


def rotate(x: Floats, rope: Rope, first: int = 0) -> Floats:
    """Rotate heads, [tokens, heads, D], by their positions from *first* on."""
    positions = np.arange(first, first + len(x), dtype=np.float32)
    angles = positions[:, None, None] * rope.frequencies
    cos, sin = (f(angles) * np.float32(rope.attention_factor) for f in (np.cos, np.sin))
    left, right = np.split(x, 2, axis=-1)
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def attend(query: Floats, key: Floats, value: Floats) -> None:
    """Replace queries, [T, heads, D], by what they attend to in keys and values, [T, kv, D]."""
    length, heads, size = query.shape
    shared_by = heads // key.shape[1]
    future = np.triu(np.full((QUERIES, QUERIES), -np.inf, np.float32), 1)
    for pair in range(key.shape[1]):
        group = slice(pair * shared_by, (pair + 1) * shared_by)
        keys, values = (np.ascontiguousarray(a[:, pair]) for a in (key, value))
        for start in range(0, length, QUERIES):
            end = min(start + QUERIES, length)
            asked = query[start:end, group].swapaxes(0, 1).reshape(-1, size)  # [heads * queries, D]
            scores = (asked @ keys[:end].T / np.float32(np.sqrt(size))).reshape(shared_by, -1, end)
            scores[..., start:] += future[: end - start, : end - start]
            attended = softmax(scores).reshape(-1, end) @ values[:end]
            query[start:end, group] = attended.reshape(shared_by, -1, size).swapaxes(0, 1)


def routing(logits: Floats, config: GraphConfig) -> Floats:
    """Weights of the experts of each token, [tokens, E], of the router's logits.

    They are zero for experts that the token is not routed to.
    """
    weights = softmax(logits)
    best = np.argsort(-weights, axis=-1, kind="stable")[:, : config.top_k]
    routed = np.zeros(weights.shape, bool)
    np.put_along_axis(routed, best, True, -1)
    weights = np.where(routed, weights, np.float32(0))
    if config.renormalize:
        weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def softmax(x: Floats) -> Floats:
    """Softmax over the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def silu(x: Floats) -> Floats:
    """X * sigmoid(x)."""
    with np.errstate(over="ignore"):  # exp of a very negative x is infinite, and the result 0
        return np.asarray(x / (1 + np.exp(-x)), np.float32)
