"""Llama 3, 3.1, 3.2 and 3.3 (text), and other models of transformers' `LlamaForCausalLM`.

The reference is transformers' `modeling_llama.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import field_validator

from qdeploy.architectures.config import DecoderConfig, Flag, RopeScaling, rope_type
from qdeploy.architectures.decoder import Decoder

LLAMA3_KEYS = (
    "factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor",
)  # fmt: skip


class LlamaConfig(DecoderConfig):
    """`config.json` of a Llama. Defaults are those of transformers' `LlamaConfig`."""

    rope_types = (None, "default", "llama3")
    unsupported: ClassVar[Mapping[str, str]] = {
        "attention_bias": "its attention has biases",
        "mlp_bias": "its feed-forward blocks have biases",
    }

    attention_bias: Flag = False
    mlp_bias: Flag = False

    @field_validator("rope_scaling")
    @classmethod
    def _llama3_is_whole(cls, scaling: RopeScaling | None) -> RopeScaling | None:
        if rope_type(scaling) != "llama3" or not scaling:
            return scaling
        given: dict[str, Any] = {key: scaling.get(key) for key in LLAMA3_KEYS}
        if missing := [key for key, value in given.items() if value is None]:
            raise ValueError(f"{missing[0]!r} is missing, which 'llama3' needs")
        if given["low_freq_factor"] >= given["high_freq_factor"]:
            raise ValueError("'low_freq_factor' is not below 'high_freq_factor'")
        return scaling


class Llama(Decoder):
    name = "llama"
    classes = ("LlamaForCausalLM",)
    config = LlamaConfig
    genai_type = "llama"
