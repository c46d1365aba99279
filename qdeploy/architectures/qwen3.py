"""Qwen3: RMS norms on the heads of query and key before they are rotated, and no biases.

Described in arXiv:2505.09388; the reference is transformers' `modeling_qwen3.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from qdeploy.architectures.config import DecoderConfig, Flag, RopeScaling
from qdeploy.architectures.decoder import Decoder
from qdeploy.architectures.graph import Builder, GraphConfig, V
from qdeploy.architectures.recommended import Recommended, RecommendedSampling
from qdeploy.architectures.window import WindowedConfig

TRAINED = 32_768
"""Tokens of Qwen3's training. Its `max_position_embeddings`, 40 960, adds room for an answer."""
VALIDATED = 131_072
"""Tokens that Qwen3's authors validated with YaRN: https://huggingface.co/Qwen/Qwen3-8B."""

RECOMMENDED = Recommended(
    reasoning=RecommendedSampling(temperature=0.6, top_p=0.95, top_k=20),
    content=RecommendedSampling(temperature=0.7, top_p=0.8, top_k=20),
    early_stop="\n\nConsidering the limited time by the user, I have to give the solution based on "
    "the thinking directly now.",
    presence_penalty=1.5,
)
"""Sampling: Qwen3's model cards, "Best Practices". Early stop: Qwen's quickstart, "Thinking Budget"
(https://qwen.readthedocs.io). Presence penalty: the cards of the quantized models, such as
https://huggingface.co/Qwen/Qwen3-8B-GGUF."""


class Qwen3Config(WindowedConfig):
    """`config.json` of a Qwen3. Defaults are those of transformers' `Qwen3Config`."""

    rope_types = (None, "default", "yarn")
    unsupported: ClassVar[Mapping[str, str]] = {
        "attention_bias": "its attention has biases",
    }

    usual_head_dim: ClassVar[int | None] = 128

    attention_bias: Flag = False

    @property
    def longest_context(self) -> int:
        """Positions grow by YaRN up to what was validated, unless the config scales them itself."""
        grows = not self.rope_scaling and TRAINED <= self.max_position_embeddings < VALIDATED
        return VALIDATED if grows else self.positions

    def scaling_for(self, context: int) -> RopeScaling | None:
        """Scale only for a context beyond the model's own: every token's rotation changes with it.

        The factor is no larger than *context* needs.
        """
        if self.rope_scaling or context <= self.max_position_embeddings:
            return self.rope_scaling
        return {
            "rope_type": "yarn",
            "factor": context / TRAINED,
            "original_max_position_embeddings": TRAINED,
        }


class Qwen3(Decoder):
    name = "qwen3"
    classes = ("Qwen3ForCausalLM",)
    config: ClassVar[type[DecoderConfig]] = Qwen3Config
    genai_type = "qwen3"
    recommended = RECOMMENDED

    def qkv(self, build: Builder[V], config: GraphConfig, prefix: str, x: V) -> tuple[V, V, V]:
        query, key, value = super().qkv(build, config, prefix, x)
        query = build.qk_norm(query, prefix + "q_norm.weight", config.heads)
        key = build.qk_norm(key, prefix + "k_norm.weight", config.kv_heads)
        return query, key, value
