"""Qwen2 and Qwen2.5: biases on query, key and value, and no norms on their heads.

The reference is transformers' `modeling_qwen2.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from qdeploy.architectures.config import DecoderConfig, Flag
from qdeploy.architectures.decoder import Decoder


class Qwen2Config(DecoderConfig):
    """`config.json` of a Qwen2. Positions are scaled with YaRN only where the file asks for it."""

    rope_types = (None, "default", "yarn")
    unsupported: ClassVar[Mapping[str, str]] = {
        "use_sliding_window": "its attention has a sliding window",
    }

    use_sliding_window: Flag = False


class Qwen2(Decoder):
    name = "qwen2"
    classes = ("Qwen2ForCausalLM",)
    config = Qwen2Config
    genai_type = "qwen2"
    qkv_bias = True
