"""Checkpoints as transformers saves them have the weights that transformers reads from them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights
from tests.support.evaluating import logits_of
from tests.support.tiny import DENSE, SPARSE
from tests.support.weights import f32, save

torch = pytest.importorskip("torch", reason="needs qdeploy[optimum]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[optimum]")

IDS = np.random.default_rng(0).integers(0, 2000, 40).tolist()
ROUNDING = 1e-4
UNTIED = DENSE | {"tie_word_embeddings": False}


def build(config: dict[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = transformers.AutoConfig.for_model(**config)
        return transformers.AutoModelForCausalLM.from_config(made).eval()


def add_sidecars(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(models.path("qwen3-nano") / name, folder / name)


def assert_same(folder: Path) -> None:
    """The logits are those of what transformers loads from *folder*."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        wanted = model(torch.tensor([IDS])).logits[0].numpy()
    check_weights(read_checkpoint(folder))
    assert np.abs(logits_of(folder, IDS) - wanted).max() < ROUNDING


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (UNTIED, {}),
        (DENSE, {}),
        (SPARSE, {}),
        (SPARSE, {"save_original_format": False}),
        (SPARSE | {"mlp_only_layers": [1]}, {"save_original_format": False}),
        (SPARSE, {"save_original_format": False, "max_shard_size": "200KB"}),
    ],
    ids=["dense", "tied", "experts", "fused", "fused in some layers", "fused in shards"],
)
def test_a_saved_model_is_read_as_transformers_reads_it(
    config: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    build(config).save_pretrained(tmp_path, **options)
    add_sidecars(tmp_path)
    assert_same(tmp_path)
    assert read_checkpoint(tmp_path).warnings == ()


def test_a_decoder_saved_without_its_head(tmp_path: Path) -> None:
    build(DENSE).model.save_pretrained(tmp_path)
    add_sidecars(tmp_path)
    assert_same(tmp_path)


@pytest.mark.parametrize("change", [0.0, 1e-3])
def test_a_head_beside_the_embedding_that_it_is_tied_to(change: float, tmp_path: Path) -> None:
    model = build(DENSE)
    model.save_pretrained(tmp_path)
    add_sidecars(tmp_path)
    weights = {name: f32(value.numpy()) for name, value in model.state_dict().items()}
    embedding = weights["model.embed_tokens.weight"].data
    noise = np.random.default_rng(0).standard_normal(embedding.shape, np.float32)
    weights["lm_head.weight"] = f32(embedding + change * noise)
    save(tmp_path / "model.safetensors", weights)
    assert_same(tmp_path)


def test_a_head_in_place_of_the_embedding_that_it_is_tied_to(tmp_path: Path) -> None:
    model = build(DENSE)
    model.save_pretrained(tmp_path)
    add_sidecars(tmp_path)
    weights = {name: f32(value.numpy()) for name, value in model.state_dict().items()}
    del weights["model.embed_tokens.weight"]
    save(tmp_path / "model.safetensors", weights)
    assert_same(tmp_path)
