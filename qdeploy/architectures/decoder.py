"""The part of a Qwen3 checkpoint's `config.json` that decides what is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qdeploy.architectures.config import Qwen3
from qdeploy.architectures.rope import Rope, make_rope

ROPE_TYPES = (None, "default", "yarn")


@dataclass(frozen=True)
class Config:
    """Numbers and choices of the model, in qdeploy's words.

    Attributes:
        epsilon: what the norms add to the mean square.
        rope_scaling: YaRN's parameters, or None.
        positions: the longest context before any scaling.
        experts: 0 for a dense model.
        chosen: experts that a token goes to.
        renormalize: whether the chosen experts' weights are scaled to a sum of one.
        sparse_layers: layers that have experts.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    epsilon: float
    theta: float
    rope_scaling: Mapping[str, Any] | None
    positions: int
    experts: int = 0
    chosen: int = 0
    renormalize: bool = False
    sparse_layers: frozenset[int] = frozenset()

    @cached_property
    def rope(self) -> Rope:
        return make_rope(self.theta, self.head_dim, self.rope_scaling, self.positions)


def read(known: Qwen3, rope_scaling: Mapping[str, Any] | None) -> Config:
    """Read the config *known*, with positions scaled by *rope_scaling*.

    That is `yarn.scaling_for` the context wanted.
    """
    return Config(
        layers=known.num_hidden_layers,
        hidden=known.hidden_size,
        heads=known.num_attention_heads,
        kv_heads=known.num_key_value_heads,
        head_dim=known.head_dim,
        vocabulary=known.vocab_size,
        tied=known.tie_word_embeddings,
        epsilon=known.rms_norm_eps,
        theta=known.rope_theta,
        rope_scaling=rope_scaling,
        positions=known.max_position_embeddings,
        experts=known.num_experts or 0,
        chosen=known.num_experts_per_tok,
        renormalize=known.norm_topk_prob,
        sparse_layers=frozenset(filter(known.is_sparse, range(known.num_hidden_layers))),
    )


def why_not(config: Qwen3) -> str | None:
    """Why a model of this config is not the one that is described here, or None."""
    if config.attention_bias:
        return "its attention has biases (attention_bias)"
    if config.use_sliding_window:
        return "its attention has a sliding window (use_sliding_window)"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act!r}, not 'silu' (hidden_act)"
    scaling = config.rope_scaling or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind not in ROPE_TYPES:
        return f"its positions are scaled as {kind!r}; known is 'yarn' (rope_scaling)"
    return None
