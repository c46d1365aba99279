"""The shapes of the two models, written as the published Qwen3 checkpoints write them."""

from __future__ import annotations

from typing import Any

VOCABULARY = 2048  # a multiple of 128, shared by both models
END_OF_TEXT = VOCABULARY - 26  # the first of Qwen3's 26 added tokens
IM_END = END_OF_TEXT + 2

# Every in_features (256, 512, 768 or 128) is a multiple of 128, the group size of int4.
_SHARED: dict[str, Any] = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": IM_END,
    "head_dim": 128,  # not hidden_size / num_attention_heads, as in the real ones
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 2048,
    "max_window_layers": 4,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",  # the first release that knows both architectures
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCABULARY,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3-nano": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "tie_word_embeddings": True,
        **_SHARED,
    },
    "qwen3-nano-moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "tie_word_embeddings": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 128,
        "norm_topk_prob": True,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        **_SHARED,
    },
}

GENERATION: dict[str, Any] = {
    "bos_token_id": END_OF_TEXT,
    "do_sample": True,
    "eos_token_id": [IM_END, END_OF_TEXT],
    "pad_token_id": END_OF_TEXT,
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "transformers_version": "4.51.0",
}
