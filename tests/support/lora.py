"""LoRA adapters with random factors, as files: for tests that need neither torch nor PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.weights import RawTensor, save

Floats = NDArray[np.float32]

CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 6, "bias": "none", "use_rslora": False,
    "use_dora": False, "modules_to_save": None, "fan_in_fan_out": False, "rank_pattern": {},
    "alpha_pattern": {}, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": True,
    "megatron_core": "megatron.core", "loftq_config": {}, "lora_dropout": 0.05,
}  # fmt: skip
"""Of a LoRA adapter, as PEFT writes it."""


def draw(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def half(module: str, which: str) -> str:
    """The name of A or B of a module in the adapter's file."""
    return f"base_model.model.{module}.lora_{which}.weight"


def adapter(folder: Path, tensors: dict[str, RawTensor], **changes: Any) -> Path:
    """The folder of an adapter of these tensors; its config is CONFIG with *changes*."""
    place = folder / "adapter"
    place.mkdir(exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps(CONFIG | changes), encoding="utf-8")
    save(place / "adapter_model.safetensors", tensors)
    return place
