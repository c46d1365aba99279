"""`genai_config.json`, the configuration that onnxruntime-genai loads a model with.

Names and values are those that its own builder writes for a decoder (0.18).
"""

from __future__ import annotations

from typing import Any

from qdeploy.architectures.graph import GraphConfig
from qdeploy.exporters.native.tokenizer.runtime_tokens import RuntimeTokens
from qdeploy.planning.formats import ONNX
from qdeploy.tokenization.generation_config import GenerationConfig


def genai_config(
    config: GraphConfig,
    type: str,
    context: int,
    generation: GenerationConfig,
    tokens: RuntimeTokens,
) -> dict[str, Any]:
    """The whole file.

    Args:
        config: the model's.
        type: onnxruntime-genai's name for the family: see `Architecture.genai_type`.
        context: most tokens, prompt and answer together.
        generation: the model's generation settings.
        tokens: ids that begin, end and pad a text.
    """
    first_end = tokens.ends[0] if tokens.ends else 0
    return {
        "model": {
            "type": type,
            "context_length": context,
            "vocab_size": config.vocab_size,
            "bos_token_id": first_end if tokens.begin is None else tokens.begin,
            "eos_token_id": list(tokens.ends),
            "pad_token_id": first_end if tokens.padding is None else tokens.padding,
            "decoder": {
                "filename": ONNX.files["model"],
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "head_size": config.head_dim,
                "hidden_size": config.hidden,
                "num_attention_heads": config.heads,
                "num_key_value_heads": config.kv_heads,
                "num_hidden_layers": config.layers,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": bool(generation.do_sample and generation.temperature != 0),
            "temperature": generation.temperature or 1.0,
            "top_k": 50 if generation.top_k is None else generation.top_k,
            "top_p": 1.0 if generation.top_p is None else generation.top_p,
            "repetition_penalty": generation.repetition_penalty or 1.0,
            "max_length": context,
            "min_length": 0,
            "num_beams": 1,
            "past_present_share_buffer": True,
        },
    }
