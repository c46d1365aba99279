"""transformers, in float32, still computes the golden logits that everything is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from qdeploy import models

torch = pytest.importorskip("torch", reason="needs qdeploy[optimum]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[optimum]")

ROUNDING = 1e-3
"""Logits are of the order of ten; other builds of the same sums differ by less than this."""


@pytest.fixture(scope="module", params=models.EMBEDDED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        models.path(name), dtype=torch.float32, local_files_only=True
    ).eval()


def test_transformers_loads_it_as_qwen3_without_custom_code(name: str, model: Any) -> None:
    expected = "Qwen3MoeForCausalLM" if "moe" in name else "Qwen3ForCausalLM"
    assert type(model).__name__ == expected
    assert type(model).__module__.startswith("transformers.models.")


def test_golden_logits_hold(name: str, model: Any) -> None:
    golden = load_file(models.path(name) / "golden.safetensors")
    keys = sorted({tensor.split(".")[0] for tensor in golden})
    assert len(keys) >= 5
    for key in keys:
        with torch.inference_mode():
            logits = model(torch.from_numpy(golden[f"{key}.input_ids"])[None]).logits[0]
        assert np.abs(logits.numpy() - golden[f"{key}.logits"]).max() < ROUNDING
