"""A model family in one file: parallel attention and MLP, and names of its own for everything."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.config import DecoderConfig
from qdeploy.architectures.graph import Builder, GraphConfig, Linear, V

KEYS = {
    "hidden_size": "width", "intermediate_size": "inner_width", "num_hidden_layers": "blocks",
    "num_attention_heads": "heads", "max_position_embeddings": "positions",
}  # fmt: skip
"""What the fields of `DecoderConfig` are called in this family's `config.json`."""


class ToyConfig(DecoderConfig):
    @model_validator(mode="before")
    @classmethod
    def _own_keys(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return raw | {field: raw[key] for field, key in KEYS.items() if key in raw}


class ToyFamily(Architecture):
    """x + attention(norm(x)) + mlp(norm(x)), with a bias on the output projection."""

    name = "toy_family"
    classes = ("ToyForCausalLM",)
    config = ToyConfig

    def hidden(self, build: Builder[V], config: GraphConfig) -> V:
        x = build.embedding("tokens.weight")
        for number in range(config.layers):
            prefix = f"blocks.{number}."
            normed = build.rms_norm(x, prefix + "norm.weight")
            attended = self._attention(build, config, number, prefix, normed)
            x = build.add(build.add(x, attended), self._mlp(build, config, prefix, normed))
        return build.rms_norm(x, "norm.weight")

    def head(self, config: GraphConfig) -> str:
        return "tokens.weight" if config.tied else "head.weight"

    def _attention(
        self, build: Builder[V], config: GraphConfig, number: int, prefix: str, x: V
    ) -> V:
        width = config.heads * config.head_dim
        layers = [Linear(f"{prefix}{name}.weight", width) for name in ("query", "key", "value")]
        query, key, value = build.linears(x, layers)
        attended = build.attention(number, query, key, value)
        out = Linear(prefix + "out.weight", config.hidden, prefix + "out.bias")
        return build.linear(attended, out)

    def _mlp(self, build: Builder[V], config: GraphConfig, prefix: str, x: V) -> V:
        gate, up = build.linears(
            x, [Linear(f"{prefix}{name}.weight", config.intermediate) for name in ("gate", "up")]
        )
        return build.linear(build.swiglu(gate, up), Linear(prefix + "down.weight", config.hidden))
