"""The reference in NumPy computes what transformers does in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tiny
from tests.support.evaluating import logits_of
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE

torch = pytest.importorskip("torch", reason="needs qdeploy[optimum]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[optimum]")

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
VARIANTS: dict[str, dict[str, Any]] = {
    "yarn": DENSE | {"rope_scaling": YARN, "max_position_embeddings": 131072},
    "untied": DENSE | {"tie_word_embeddings": False},
    "routing weights as they are": SPARSE | {"norm_topk_prob": False},
    "every second layer": SPARSE | {"decoder_sparse_step": 2},
    "but the first layer": SPARSE | {"mlp_only_layers": [0]},
    "qwen2": QWEN2,
    "qwen2 with yarn, untied": QWEN2
    | {
        "rope_scaling": YARN,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
    "llama": LLAMA,
    "llama without scaling, untied": LLAMA
    | {
        "rope_scaling": None,
        "tie_word_embeddings": False,
    },
}
IDS = np.random.default_rng(0).integers(0, 2000, 60).tolist()
ROUNDING = 1e-4


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_variants(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", config)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        wanted = model(torch.tensor([IDS])).logits[0].numpy()
    assert np.abs(logits_of(folder, IDS) - wanted).max() < ROUNDING
