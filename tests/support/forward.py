"""Plain forward passes of Qwen3, Qwen2 and Llama in NumPy, the reference for exported graphs.

Only the rotary frequencies come from qdeploy; another test compares those with transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.rope import make_rope

Array = NDArray[np.float32]
Lookup = Callable[[str], Array]
"""Returns a weight by its name in the checkpoint."""


def logits(config: Mapping[str, Any], weight: Lookup, ids: list[int]) -> Array:
    """Return the logits, float32 [tokens, vocabulary], of one sequence."""
    tied = config["tie_word_embeddings"]
    head = weight("model.embed_tokens.weight" if tied else "lm_head.weight")
    return hidden(config, weight, ids) @ head.T


def hidden(config: Mapping[str, Any], weight: Lookup, ids: list[int]) -> Array:
    """Return the hidden states after the last norm, float32 [tokens, H], of one sequence."""
    x = weight("model.embed_tokens.weight")[ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        normed = _norm(x, weight(prefix + "input_layernorm.weight"), config)
        x = x + _attention(config, weight, prefix + "self_attn.", normed)
        normed = _norm(x, weight(prefix + "post_attention_layernorm.weight"), config)
        x = x + _feed_forward(config, weight, layer, normed)
    return _norm(x, weight("model.norm.weight"), config)


def _norm(x: Array, gamma: Array, config: Mapping[str, Any]) -> Array:
    mean: Array = np.mean(x * x, axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(mean + config["rms_norm_eps"]) * gamma, np.float32)


def _attention(config: Mapping[str, Any], weight: Lookup, prefix: str, x: Array) -> Array:
    size, count = config["head_dim"], config["num_attention_heads"]

    def heads(name: str) -> Array:
        projected = x @ weight(f"{prefix}{name}_proj.weight").T
        if config["model_type"] == "qwen2":
            projected = projected + weight(f"{prefix}{name}_proj.bias")
        return projected.reshape(len(x), -1, size)

    def normed(name: str) -> Array:
        if not config["model_type"].startswith("qwen3"):
            return heads(name)
        return _norm(heads(name), weight(f"{prefix}{name}_norm.weight"), config)

    query, key = _rotate(normed("q"), config), _rotate(normed("k"), config)
    value = heads("v")
    future = np.triu(np.full((len(x), len(x)), -np.inf), 1)
    said = []
    for head in range(count):
        shared = head * config["num_key_value_heads"] // count
        scores = query[:, head] @ key[:, shared].T / np.sqrt(size) + future
        said.append(_softmax(scores) @ value[:, shared])
    together = np.concatenate(said, axis=-1).astype(np.float32)
    return together @ weight(prefix + "o_proj.weight").T


def _rotate(x: Array, config: Mapping[str, Any]) -> Array:
    rotation = make_rope(config["rope_theta"], x.shape[-1], config.get("rope_scaling"), 0)
    angles = np.arange(len(x))[:, None, None] * np.concatenate([rotation.frequencies] * 2)
    first, second = np.split(x, 2, axis=-1)
    swapped = np.concatenate([-second, first], axis=-1)
    turned = x * np.cos(angles) + swapped * np.sin(angles)
    return np.asarray(turned * rotation.attention_factor, np.float32)


def _softmax(x: NDArray[Any]) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def _feed_forward(config: Mapping[str, Any], weight: Lookup, layer: int, x: Array) -> Array:
    prefix = f"model.layers.{layer}.mlp."
    step, only = config.get("decoder_sparse_step", 1), config.get("mlp_only_layers", ())
    if not config.get("num_experts") or layer in only or (layer + 1) % step:
        return _mlp(weight, prefix, x)
    likely = _softmax(x @ weight(prefix + "gate.weight").T)
    said = np.zeros_like(x)
    for row, shares in enumerate(likely):
        best = np.argsort(-shares)[: config["num_experts_per_tok"]]
        total = shares[best].sum() if config["norm_topk_prob"] else 1
        for expert in best:
            one = _mlp(weight, f"{prefix}experts.{expert}.", x[row : row + 1])
            said[row] += shares[expert] / total * one[0]
    return said


def _mlp(weight: Lookup, prefix: str, x: Array) -> Array:
    gate = x @ weight(prefix + "gate_proj.weight").T
    up = x @ weight(prefix + "up_proj.weight").T
    inner: Array = gate / (1 + np.exp(-gate)) * up
    return inner @ weight(prefix + "down_proj.weight").T
