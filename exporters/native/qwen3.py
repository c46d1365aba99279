"""Qwen3 and Qwen3-MoE, said once. Every format that qdeploy writes is built from this page.

    tokens -> embedding -> layers -> norm -> lm_head -> logits
    layer:      x + attention(norm(x)), then x + mlp(norm(x))
    attention:  q, k, v without bias; q and k normed head by head before they are rotated
    mlp:        down(silu(gate(x)) * up(x)), or a choice of such blocks for each token

The published description is arXiv:2505.09388; the reference is transformers' `modeling_qwen3.py`
and `modeling_qwen3_moe.py`, whose names the checkpoint's tensors carry.
"""

from __future__ import annotations

from qdeploy.exporters.native.config import Config
from qdeploy.exporters.native.graph import Builder, Expert, V

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


def describe(build: Builder[V], config: Config) -> None:
    """Build the whole model, from the tokens to the logits."""
    x = build.embedding(EMBEDDING)
    for layer in range(config.layers):
        x = _layer(build, config, layer, x)
    x = build.rms_norm(x, "model.norm.weight")
    build.logits(x, EMBEDDING if config.tied else HEAD)


def _layer(build: Builder[V], config: Config, layer: int, x: V) -> V:
    prefix = f"model.layers.{layer}."
    normed = build.rms_norm(x, prefix + "input_layernorm.weight")
    x = build.add(x, _attention(build, config, layer, normed))
    normed = build.rms_norm(x, prefix + "post_attention_layernorm.weight")
    mlp = _experts if layer in config.sparse_layers else _mlp
    return build.add(x, mlp(build, config, f"{prefix}mlp.", normed))


def _attention(build: Builder[V], config: Config, layer: int, x: V) -> V:
    prefix = f"model.layers.{layer}.self_attn."
    weights = [f"{prefix}{name}_proj.weight" for name in "qkv"]
    sizes = [heads * config.head_dim for heads in (config.heads, config.kv_heads, config.kv_heads)]
    query, key, value = build.linears(x, weights, sizes)
    query = build.head_norm(query, prefix + "q_norm.weight", config.heads)
    key = build.head_norm(key, prefix + "k_norm.weight", config.kv_heads)
    attended = build.attention(layer, query, key, value)
    return build.linear(attended, prefix + "o_proj.weight")


def _mlp(build: Builder[V], config: Config, prefix: str, x: V) -> V:
    gate = build.linear(x, prefix + "gate_proj.weight")
    up = build.linear(x, prefix + "up_proj.weight")
    return build.linear(build.gated(gate, up), prefix + "down_proj.weight")


def _experts(build: Builder[V], config: Config, prefix: str, x: V) -> V:
    names = [f"{prefix}experts.{number}." for number in range(config.experts)]
    experts = [
        Expert(n + "gate_proj.weight", n + "up_proj.weight", n + "down_proj.weight") for n in names
    ]
    return build.experts(x, prefix + "gate.weight", experts)
