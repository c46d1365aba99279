"""`config.json`: the keys of any model, and those of decoders whose graph qdeploy builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.spelling import spell

LIMIT = 2**31
"""All counts are below this: the runtimes use signed 32-bit numbers."""
SCALED_ALREADY = ("llama3",)
"""Types of scaling with which `max_position_embeddings` counts the scaled positions."""

Count = Annotated[int, Field(gt=0, lt=LIMIT)]
Flag = Annotated[bool, Field(strict=True)]
# bounds far from those of any model, within which no logarithm or float32 overflows
Epsilon = Annotated[float, Field(strict=True, gt=0, le=1)]
Theta = Annotated[float, Field(strict=True, gt=1, lt=1e30)]
Scale = Annotated[float, Field(strict=True, ge=1e-6, le=1e6)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1e6)]


class RopeScaling(TypedDict, total=False):
    """How positions are scaled, by the names of `config.json`; null means that a key is absent."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    rope_type: str | None
    type: str | None
    factor: Scale | None
    original_max_position_embeddings: Count | None
    attention_factor: Scale | None
    beta_fast: Scale | None
    beta_slow: Scale | None
    mscale: Weight | None
    mscale_all_dim: Weight | None
    truncate: Flag | None
    low_freq_factor: Scale | None
    high_freq_factor: Scale | None


class ModelConfig(BaseModel):
    """The part of any model's `config.json` that a plan relies on; names are the file's own.

    `head_dim` defaults to hidden_size / num_attention_heads where the file does not have it; in
    Qwen3 it is independent of both. Names are normalized first: see `spelling`. Scaling of the
    type `default` is None.

    Attributes:
        usual_head_dim: `head_dim` of a file that does not have it; None for the ratio.
    """

    usual_head_dim: ClassVar[int | None] = None

    model_config = ConfigDict(frozen=True, extra="ignore")

    architectures: tuple[str, ...] = Field(min_length=1)
    model_type: str
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    vocab_size: Count
    max_position_embeddings: Count
    intermediate_size: int | None = None
    tie_word_embeddings: Flag = False
    rope_theta: float | None = None
    rope_scaling: RopeScaling | None = None
    rope_parameters: dict[str, Any] | None = None
    num_experts: Annotated[int, Field(ge=0, lt=LIMIT)] | None = None
    num_experts_per_tok: int | None = None
    moe_intermediate_size: int | None = None
    quantization_config: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: dict[str, Any]) -> dict[str, Any]:
        filled = spell(raw).content
        heads = filled.get("num_attention_heads")
        if filled.get("num_key_value_heads") is None:
            filled["num_key_value_heads"] = heads
        hidden = filled.get("hidden_size")
        if cls.usual_head_dim and "head_dim" not in filled:
            filled["head_dim"] = cls.usual_head_dim
        if filled.get("head_dim") is None and isinstance(hidden, int) and isinstance(heads, int):
            filled["head_dim"] = hidden // max(heads, 1)
        return filled

    @field_validator("rope_scaling")
    @classmethod
    def _positions_can_be_counted(
        cls, scaling: RopeScaling | None, others: ValidationInfo
    ) -> RopeScaling | None:
        positions = others.data.get("max_position_embeddings")
        if positions and (longest := _scaled(positions, scaling)) >= LIMIT:
            raise ValueError(f"it makes {longest} positions, more than can be counted")
        return scaling

    @property
    def name(self) -> str:
        return self.architectures[0]

    @property
    def is_moe(self) -> bool:
        return bool(self.num_experts)

    @property
    def positions(self) -> int:
        """Longest context by the config, with its own scaling."""
        return _scaled(self.max_position_embeddings, self.rope_scaling)

    @property
    def longest_context(self) -> int:
        """Most tokens that the model can be exported for."""
        return self.positions

    def scaling_for(self, context: int) -> RopeScaling | None:
        """How positions are scaled for a context of so many tokens, by the names of the file."""
        return self.rope_scaling

    def kv_elements_per_token(self) -> int:
        """Elements of the key-value cache that one token adds, all layers together."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim


class DecoderConfig(ModelConfig):
    """What decides the numbers of a decoder with RMS norms, rotary positions and SwiGLU.

    A family's class adds its own keys and lists those that it does not support.

    Attributes:
        rope_types: values of `rope_type` that are supported.
        unsupported: keys that must not be set, with what each means.
    """

    rope_types: ClassVar[tuple[str | None, ...]] = (None, "default")
    unsupported: ClassVar[Mapping[str, str]] = {}

    rms_norm_eps: Epsilon = 1e-6
    rope_theta: Theta = 10000.0
    partial_rotary_factor: float | None = None
    hidden_act: str = "silu"

    @field_validator("num_key_value_heads")
    @classmethod
    def _heads_share(cls, kv_heads: int, others: ValidationInfo) -> int:
        heads = others.data.get("num_attention_heads")
        if heads and heads % kv_heads:
            raise ValueError(f"{heads} attention heads cannot share {kv_heads} evenly")
        return kv_heads

    @field_validator("head_dim")
    @classmethod
    def _dimensions_pair_up(cls, size: int) -> int:
        if size % 2:
            raise ValueError(f"heads of {size} elements cannot be rotated in pairs")
        return size

    def why_not(self) -> str | None:
        """Why the family's graph does not compute this model, or None if it does."""
        for key, meaning in self.unsupported.items():
            if getattr(self, key):
                return f"{meaning} ({key})"
        if self.hidden_act != "silu":
            return f"its activation is {self.hidden_act!r}, not 'silu' (hidden_act)"
        if any(isinstance(value, dict) for value in (self.rope_parameters or {}).values()):
            return "its layers rotate positions differently (rope_parameters)"
        if (kind := rope_type(self.rope_scaling)) not in self.rope_types:
            supported = ", ".join(repr(t) for t in self.rope_types if t)
            return f"its positions are scaled as {kind!r}; supported: {supported} (rope_scaling)"
        part = (self.rope_scaling or {}).get("partial_rotary_factor", self.partial_rotary_factor)
        if self.rope_scaling and part not in (None, 1):  # without scaling, transformers ignores it
            return "a part of each head is rotated (partial_rotary_factor)"
        return None

    def is_sparse(self, layer: int) -> bool:
        """Whether a layer, counted from 0, has experts."""
        return False

    def modules(self, most: int) -> int:
        """Layers and experts together. Experts are not counted where layers exceed *most*."""
        layers = self.num_hidden_layers
        sparse = sum(map(self.is_sparse, range(layers))) if layers <= most else 0
        return layers + sparse * (self.num_experts or 0)

    def graph(self, rope_scaling: RopeScaling | None) -> GraphConfig:
        """The numbers of the graph with positions scaled by *rope_scaling*: see `scaling_for`."""
        return GraphConfig(
            layers=self.num_hidden_layers,
            hidden=self.hidden_size,
            intermediate=self.intermediate_size or 0,
            heads=self.num_attention_heads,
            kv_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            vocab_size=self.vocab_size,
            tied=self.tie_word_embeddings,
            epsilon=self.rms_norm_eps,
            theta=self.rope_theta,
            rope_scaling=rope_scaling,
            positions=self.max_position_embeddings,
            sparse_layers=frozenset(filter(self.is_sparse, range(self.num_hidden_layers))),
        )


def rope_type(scaling: RopeScaling | None) -> str | None:
    """The type of scaling, under its new key or its old one."""
    scaling = scaling or {}
    return scaling.get("rope_type", scaling.get("type"))


def _scaled(positions: int, scaling: RopeScaling | None) -> int:
    scaling = scaling or {}
    if rope_type(scaling) in SCALED_ALREADY:
        return positions
    original = scaling.get("original_max_position_embeddings") or positions
    return max(positions, int(original * (scaling.get("factor") or 1)))
