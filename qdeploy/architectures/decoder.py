"""The pre-norm decoder that most families are: each states only what it does differently.

    tokens -> embedding -> layers -> norm -> lm_head -> logits
    layer:      x + attention(norm(x)), then x + mlp(norm(x))
    attention:  o(attend(q(x), k(x), v(x)))
    mlp:        down(silu(gate(x)) * up(x))

Tensors have the names that transformers gives them.
"""

from __future__ import annotations

from typing import ClassVar

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import Builder, GraphConfig, Linear, V

EMBEDDING, HEAD, LAST_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


class Decoder(Architecture):
    """Attributes:
    qkv_bias: whether the query, key and value projections have biases.
    """

    qkv_bias: ClassVar[bool] = False

    def hidden(self, build: Builder[V], config: GraphConfig) -> V:
        x = build.embedding(EMBEDDING)
        for layer in range(config.layers):
            x = self._layer(build, config, layer, x)
        return build.rms_norm(x, LAST_NORM)

    def head(self, config: GraphConfig) -> str:
        return EMBEDDING if config.tied else HEAD

    def _layer(self, build: Builder[V], config: GraphConfig, layer: int, x: V) -> V:
        prefix = f"model.layers.{layer}."
        normed = build.rms_norm(x, prefix + "input_layernorm.weight")
        x = build.add(x, self._attention(build, config, layer, f"{prefix}self_attn.", normed))
        normed = build.rms_norm(x, prefix + "post_attention_layernorm.weight")
        return build.add(x, self.mlp(build, config, layer, f"{prefix}mlp.", normed))

    def _attention(
        self, build: Builder[V], config: GraphConfig, layer: int, prefix: str, x: V
    ) -> V:
        query, key, value = self.qkv(build, config, prefix, x)
        attended = build.attention(layer, query, key, value)
        return build.linear(attended, Linear(prefix + "o_proj.weight", config.hidden))

    def qkv(self, build: Builder[V], config: GraphConfig, prefix: str, x: V) -> tuple[V, V, V]:
        """Query, key and value before rotation."""
        heads = {"q": config.heads, "k": config.kv_heads, "v": config.kv_heads}
        layers = [
            Linear(
                f"{prefix}{name}_proj.weight",
                count * config.head_dim,
                f"{prefix}{name}_proj.bias" if self.qkv_bias else None,
            )
            for name, count in heads.items()
        ]
        query, key, value = build.linears(x, layers)
        return query, key, value

    def mlp(self, build: Builder[V], config: GraphConfig, layer: int, prefix: str, x: V) -> V:
        """The feed-forward block of a layer."""
        names = (prefix + "gate_proj.weight", prefix + "up_proj.weight")
        gate, up = build.linears(x, [Linear(name, config.intermediate) for name in names])
        inner = build.swiglu(gate, up)
        return build.linear(inner, Linear(prefix + "down_proj.weight", config.hidden))
