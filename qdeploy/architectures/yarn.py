"""YaRN: a longer context than the model was trained for, by turning the slow dimensions slower.

Qwen3 up to 32 768 tokens is as trained, and validated by its authors with YaRN up to 131 072: see
"Processing Long Texts" on https://huggingface.co/Qwen/Qwen3-8B. Every token's rotation changes
with the factor, short prompts' too, so it is used only where a longer context is asked for.
"""

from __future__ import annotations

from qdeploy.architectures.config import Architecture, Qwen3, RopeScaling

TRAINED = 32_768
"""Tokens of Qwen3's training. Its `max_position_embeddings`, 40 960, is that and room to answer."""
VALIDATED = 131_072


def longest_context(config: Architecture) -> int:
    """Most tokens that the model can be exported for."""
    positions = config.max_position_embeddings
    if config.rope_scaling:
        return config.positions
    can_grow = isinstance(config, Qwen3) and TRAINED <= positions < VALIDATED
    return VALIDATED if can_grow else positions


def scaling_for(config: Architecture, context: int) -> RopeScaling | None:
    """The scaling of positions that *context* tokens need, by the names of `config.json`.

    What the checkpoint's own config says holds for every context.
    """
    if config.rope_scaling or context <= config.max_position_embeddings:
        return config.rope_scaling
    return {
        "rope_type": "yarn",
        "factor": context / TRAINED,
        "original_max_position_embeddings": TRAINED,
    }
