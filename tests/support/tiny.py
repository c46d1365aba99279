"""Checkpoints of any shape with random weights, small enough to compute in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.checkpoints import (
    MOE,
    SMALL,
    Shapes,
    header,
    shapes,
    write_header,
    write_sidecars,
)

DENSE: dict[str, Any] = SMALL | {
    "hidden_size": 96, "intermediate_size": 160, "head_dim": 32, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 3, "rms_norm_eps": 1e-6,
}  # fmt: skip
SPARSE: dict[str, Any] = DENSE | MOE | {
    "tie_word_embeddings": False, "norm_topk_prob": True, "moe_intermediate_size": 64,
}  # fmt: skip
QWEN2: dict[str, Any] = DENSE | {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}  # fmt: skip
LLAMA: dict[str, Any] = DENSE | {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 5e5,
    "rope_scaling": LLAMA3,
}  # fmt: skip
"""Scaled so that low, high and blended frequencies all occur, as in Llama 3.1."""

Weights = dict[str, NDArray[np.float32]]


def draw(config: Mapping[str, Any], seed: int = 0, extra: Shapes | None = None) -> Weights:
    """Return random weights, exact in bfloat16: norms near 1, matrices that preserve a norm.

    *extra* are more tensors; the same seed gives all others the same values.
    """
    generator = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in (all_shapes(config) | dict(extra or {})).items():
        values = generator.standard_normal(shape, dtype=np.float32)
        scaled = 1 + values / 8 if len(shape) == 1 else values / np.sqrt(shape[-1])
        scaled = values if name.endswith(".bias") else scaled
        weights[name] = _bits(scaled.astype(np.float32))[1]
    return weights


def all_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Like `checkpoints.shapes`, but layers without experts are told apart by the config."""
    found = shapes(config)
    if not config.get("num_experts"):
        return found
    dense = shapes({**config, "num_experts": None})
    step, only = config.get("decoder_sparse_step", 1), config.get("mlp_only_layers", ())
    for layer in range(config["num_hidden_layers"]):
        if layer in only or (layer + 1) % step:
            prefix = f"model.layers.{layer}.mlp."
            found = {n: s for n, s in found.items() if not n.startswith(prefix)}
            found |= {n: s for n, s in dense.items() if n.startswith(prefix)}
    return found


def write(
    folder: Path, config: Mapping[str, Any], seed: int = 0, extra: Shapes | None = None
) -> Path:
    """Write a checkpoint in bfloat16 and return its folder; *extra*: see `draw`."""
    write_sidecars(folder, config)
    weights = draw(config, seed, extra)
    file = folder / "model.safetensors"
    entries, _ = header({name: values.shape for name, values in weights.items()})
    write_header(file, entries, 0)
    with file.open("ab") as out:
        for values in weights.values():
            out.write(_bits(values)[0].tobytes())
    return folder


def truncate(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest values towards zero that bfloat16 holds."""
    return _bits(values)[1]


def _bits(values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Truncate to bfloat16: return its bits, and the same values as float32."""
    bits = values.view(np.uint32) >> 16
    return bits.astype(np.uint16), (bits << 16).view(np.float32)
