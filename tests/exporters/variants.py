"""Configs that every format is tested with, and their expected logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.planning.plan import Plan
from qdeploy.quantization.matrix import quantize
from tests.support import forward, tiny
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE

CLOSE = 3e-5
"""Largest difference of a logit, all of which are below 10: sums are taken in another order."""
ODD = DENSE | {
    "hidden_size": 72, "intermediate_size": 100, "head_dim": 24, "num_attention_heads": 6,
    "num_key_value_heads": 3, "vocab_size": 2055,
}  # fmt: skip
VARIANTS: dict[str, Mapping[str, Any]] = {
    "tied": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "odd sizes": ODD,
    "one key-value head for all": DENSE | {"num_key_value_heads": 1},
    "a key-value head each": DENSE | {"num_key_value_heads": 4},
    "experts": SPARSE,
    "experts not renormalized": SPARSE | {"norm_topk_prob": False},
    "every other layer has experts": SPARSE | {"decoder_sparse_step": 2},
    "one layer has none": SPARSE | {"mlp_only_layers": [1]},
    "qwen2": QWEN2,
    "qwen2 untied": QWEN2 | {"tie_word_embeddings": False},
    "llama": LLAMA,
    "llama without scaling": LLAMA | {"rope_scaling": None, "tie_word_embeddings": False},
}


def tokens(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Random tokens, int64 [1, count]."""
    return np.random.default_rng(seed).integers(0, 2000, (1, count))


def reference(config: Mapping[str, Any], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return forward.logits(config, tiny.draw(config).__getitem__, ids[0].tolist())[None]


def dequantized(plan: Plan, weights: tiny.Weights) -> tiny.Weights:
    """The weights after a trip through the plan's precisions."""
    rounded = dict(weights)
    for tensor in plan.tensors:
        if tensor.precision.dtype != "fp16":
            quantized = quantize(weights[tensor.name], tensor.precision)
            rounded[tensor.name] = quantized.dequantize()
    return rounded
