"""The reverse of `forward.arithmetic`: gradients of a loss, pulled back through each function.

Rows are tokens, float32. Each function takes what its counterpart took and the gradient of the loss
with respect to its result, and gives the gradient with respect to its input. Weights are constants.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.rope import Rope
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import rotate, softmax

Floats = NDArray[np.float32]

QUERIES = 128
"""Queries whose scores exist at a time: float32 [heads that share a key, 128, tokens], thrice."""
ROWS = 64
"""Tokens whose temporary arrays exist at a time: they stay in the processor's cache."""


def multiply_gradient(source: WeightReader, gradient: Floats, weight: str) -> Floats:
    """Reverse of `multiply`: [tokens, N] times a weight [N, K], a block of its rows at a time."""
    shape = (len(gradient), source.shape(weight)[1])
    out, part = np.zeros(shape, np.float32), np.empty(shape, np.float32)
    for start, rows in source.blocks(weight):
        out += np.matmul(gradient[:, start : start + len(rows)], rows, out=part)
    return out


def rms_norm_gradient(x: Floats, weight: Floats, epsilon: float, gradient: Floats) -> Floats:
    """Reverse of `rms_norm` over the last axis.

    With y = r x w and r = (mean(x^2) + epsilon)^-1/2, dx = r (g w - x r^2 mean(g w x)).
    """
    mean = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
    scale = 1 / np.sqrt(mean + np.float32(epsilon))
    scaled = gradient * weight
    along = np.mean(scaled * x, axis=-1, keepdims=True, dtype=np.float32)
    return np.asarray(scale * (scaled - x * (scale * scale * along)), np.float32)


def rotate_gradient(gradient: Floats, rope: Rope) -> Floats:
    """Reverse of `rotate`: the transpose of a rotation turns back by the same angles."""
    return rotate(gradient, Rope(-rope.frequencies, rope.attention_factor))


def attend_gradient(
    query: Floats, key: Floats, value: Floats, gradient: Floats
) -> tuple[Floats, Floats, Floats]:
    """Reverse of `attend` for rotated queries, [T, heads, D], keys and values, [T, kv, D].

    *gradient*: [T, heads, D]. With P = softmax(S) of the scores S, dP = g V^T and
    dS = P (dP - sum(P dP)) by rows. Keys and values sum over the heads that share them.
    """
    length, heads, size = query.shape
    shared_by, scale = heads // key.shape[1], np.float32(1 / np.sqrt(size))
    of_query, of_key, of_value = np.empty_like(query), np.zeros_like(key), np.zeros_like(value)
    future = np.triu(np.full((QUERIES, QUERIES), -np.inf, np.float32), 1)
    for pair in range(key.shape[1]):
        group = slice(pair * shared_by, (pair + 1) * shared_by)
        keys, values = (np.ascontiguousarray(a[:, pair]) for a in (key, value))
        for start in range(0, length, QUERIES):
            end = min(start + QUERIES, length)
            asked, given = (
                a[start:end, group].swapaxes(0, 1).reshape(-1, size) for a in (query, gradient)
            )  # [heads * queries, D]
            asked = asked * scale
            scores = (asked @ keys[:end].T).reshape(shared_by, -1, end)
            scores[..., start:] += future[: end - start, : end - start]
            shares = softmax(scores).reshape(-1, end)
            of_value[:end, pair] += shares.T @ given
            of_scores = given @ values[:end].T
            of_scores -= np.einsum("ij,ij->i", of_scores, shares)[:, None]
            of_scores *= shares
            of_key[:end, pair] += of_scores.T @ asked
            pulled = (of_scores @ keys[:end] * scale).reshape(shared_by, -1, size)
            of_query[start:end, group] = pulled.swapaxes(0, 1)
    return of_query, of_key, of_value


def swiglu_gradient(gate: Floats, up: Floats, gradient: Floats) -> tuple[Floats, Floats]:
    """Reverse of silu(gate) * up: gradients of gate and up.

    silu(x) = x s with s = sigmoid(x), and its derivative is s + x s (1 - s).
    """
    of_gate, of_up = np.empty_like(gate), np.empty_like(up)
    for start in range(0, len(gate), ROWS):
        rows = slice(start, start + ROWS)
        x, given = gate[rows], gradient[rows]
        with np.errstate(over="ignore"):  # exp of a very negative x is infinite, and the result 0
            sigmoid = 1 / (1 + np.exp(-x))
        silu = x * sigmoid
        np.multiply(given, silu, out=of_up[rows])
        np.multiply(given * up[rows], sigmoid + silu * (1 - sigmoid), out=of_gate[rows])
    return of_gate, of_up


def routing_gradient(logits: Floats, config: GraphConfig, gradient: Floats) -> Floats:
    """Reverse of `routing`, [tokens, E]: which experts a token goes to is a constant.

    *gradient* is zero for experts that the token is not routed to.
    """
    shares = softmax(logits)
    if config.renormalize:
        best = np.argsort(-shares, axis=-1, kind="stable")[:, : config.top_k]
        routed = np.zeros_like(shares)
        np.put_along_axis(routed, best, np.float32(1), -1)
        total = np.sum(shares * routed, axis=-1, keepdims=True)
        along = np.sum(gradient * shares, axis=-1, keepdims=True) / total
        gradient = (gradient - along) * routed / total
    along = np.sum(gradient * shares, axis=-1, keepdims=True)
    return np.asarray(shares * (gradient - along), np.float32)


def energy(gradient: Floats) -> Floats:
    """Sum of squares of each row, [tokens]."""
    return np.asarray(np.einsum("ij,ij->i", gradient, gradient), np.float32)


def total(energies: Floats) -> float:
    """The sum over tokens."""
    return float(energies.sum(dtype=np.float64))
