"""Qwen3-MoE: a Qwen3 in which some or all feed-forward blocks are a choice of experts.

The reference is transformers' `modeling_qwen3_moe.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from qdeploy.architectures.config import LIMIT, Count, Flag, RopeScaling
from qdeploy.architectures.graph import Builder, Expert, GraphConfig, V
from qdeploy.architectures.qwen3 import Qwen3, Qwen3Config

EXPERTS_PER_TOKEN = 8
"""Default of `num_experts_per_tok` in `Qwen3MoeConfig`."""


class Qwen3MoeConfig(Qwen3Config):
    """`config.json` of a Qwen3-MoE. Defaults are those of transformers' `Qwen3MoeConfig`.

    Attributes:
        norm_topk_prob: whether a token's routing weights are scaled to a sum of one.
        decoder_sparse_step: every so many layers, one has experts.
        mlp_only_layers: layers that have none nevertheless.
    """

    usual_head_dim: ClassVar[int | None] = None
    layers_differ: ClassVar[bool] = False

    num_experts: Annotated[int, Field(ge=0, lt=LIMIT)] | None = 128
    num_experts_per_tok: int = Field(default=EXPERTS_PER_TOKEN, validate_default=True)
    norm_topk_prob: Flag = False
    decoder_sparse_step: Count = 1
    mlp_only_layers: tuple[int, ...] = ()

    @field_validator("num_experts_per_tok", mode="before")
    @classmethod
    def _null_is_the_default(cls, value: object) -> object:
        return EXPERTS_PER_TOKEN if value is None else value

    @field_validator("num_experts_per_tok")
    @classmethod
    def _top_k_fits(cls, top_k: int, others: ValidationInfo) -> int:
        experts = others.data.get("num_experts")
        if experts and not 1 <= top_k <= experts:
            raise ValueError(f"a token cannot go to {top_k} of {experts} experts")
        return top_k

    @field_validator("mlp_only_layers", mode="before")
    @classmethod
    def _null_is_no_layer(cls, value: object) -> object:
        return () if value is None else value

    def is_sparse(self, layer: int) -> bool:
        """The rule of transformers' `Qwen3MoeDecoderLayer`."""
        return (
            self.is_moe
            and layer not in self.mlp_only_layers
            and (layer + 1) % self.decoder_sparse_step == 0
        )

    def graph(self, rope_scaling: RopeScaling | None) -> GraphConfig:
        return replace(
            super().graph(rope_scaling),
            experts=self.num_experts or 0,
            top_k=self.num_experts_per_tok,
            moe_intermediate=self.moe_intermediate_size or 0,
            renormalize=self.norm_topk_prob,
        )


class Qwen3Moe(Qwen3):
    """onnxruntime-genai has no type of its own for it; the graph decides what is computed."""

    name = "qwen3_moe"
    classes = ("Qwen3MoeForCausalLM",)
    config = Qwen3MoeConfig

    def mlp(self, build: Builder[V], config: GraphConfig, layer: int, prefix: str, x: V) -> V:
        if layer not in config.sparse_layers:
            return super().mlp(build, config, layer, prefix, x)
        names = [f"{prefix}experts.{number}." for number in range(config.experts)]
        experts = [
            Expert(n + "gate_proj.weight", n + "up_proj.weight", n + "down_proj.weight")
            for n in names
        ]
        return build.experts(x, prefix + "gate.weight", experts)
