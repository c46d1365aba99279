"""Qwen2 and Qwen2.5: biases on query, key and value, and no norms on their heads.

The reference is transformers' `modeling_qwen2.py`.
"""

from __future__ import annotations

from qdeploy.architectures.decoder import Decoder
from qdeploy.architectures.window import WindowedConfig


class Qwen2Config(WindowedConfig):
    """`config.json` of a Qwen2. Positions are scaled with YaRN only where the file asks for it."""

    rope_types = (None, "default", "yarn")


class Qwen2(Decoder):
    name = "qwen2"
    classes = ("Qwen2ForCausalLM",)
    config = Qwen2Config
    genai_type = "qwen2"
    qkv_bias = True
