"""Float exports of the embedded models have the logits of transformers in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from qdeploy import models
from tests.support.native import export, resolve
from tests.support.running import Model

CLOSE = 5e-5
"""Largest difference of a logit, which go up to 20: both sides compute in float32."""


@pytest.mark.parametrize("name", models.EMBEDDED)
class TestGolden:
    @pytest.fixture
    def model(self, name: str, tmp_path: Path) -> Model:
        return Model(export(resolve(models.path(name)), tmp_path / "bundle"))

    def test_prompts(self, name: str, model: Model) -> None:
        golden = load_file(models.path(name) / "golden.safetensors")
        prompts = {key.removesuffix(".input_ids") for key in golden if key.endswith(".input_ids")}
        assert prompts
        for prompt in sorted(prompts):
            model.reset()
            logits = model.feed(golden[f"{prompt}.input_ids"].astype(np.int64)[None])[0]
            assert np.abs(logits - golden[f"{prompt}.logits"]).max() < CLOSE, prompt

    def test_one_token_at_a_time(self, name: str, model: Model) -> None:
        golden = load_file(models.path(name) / "golden.safetensors")
        prompt = min(key.removesuffix(".input_ids") for key in golden if key.endswith(".input_ids"))
        ids = golden[f"{prompt}.input_ids"].astype(np.int64)[:30, None, None]
        logits = np.concatenate([model.feed(token)[0] for token in ids])
        assert np.abs(logits - golden[f"{prompt}.logits"][:30]).max() < CLOSE
