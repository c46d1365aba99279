"""Checkpoints in several types and files, adapters and YaRN, checked by their logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from qdeploy.planning.plan import Plan
from tests.support import forward, tiny
from tests.support.checkpoints import write_index, write_sidecars
from tests.support.native import export, resolve
from tests.support.running import Model
from tests.support.tiny import DENSE, SPARSE, Weights

CLOSE = 3e-5
IDS = np.random.default_rng(0).integers(0, 2000, (1, 30))
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LONG = DENSE | {"max_position_embeddings": 40960}


def difference(plan: Plan, config: Mapping[str, Any], weights: Weights, place: Path) -> float:
    """Largest difference of a logit between the export and NumPy."""
    wanted = forward.logits(config, weights.__getitem__, IDS[0].tolist())
    return float(np.abs(Model(export(plan, place)).feed(IDS)[0] - wanted).max())


def halves(weights: Mapping[str, Any]) -> Weights:
    """The weights as a float16 file holds them."""
    return {name: v.astype(np.float16).astype(np.float32) for name, v in weights.items()}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_floats(dtype: Any, tmp_path: Path) -> None:
    source, weights = tmp_path / "it", tiny.draw(DENSE)
    write_sidecars(source, DENSE)
    save_file({n: v.astype(dtype) for n, v in weights.items()}, source / "model.safetensors")
    assert difference(resolve(source), DENSE, halves(weights), tmp_path / "bundle") < CLOSE


def test_shards(tmp_path: Path) -> None:
    source, weights = tmp_path / "it", halves(tiny.draw(SPARSE))
    write_sidecars(source, SPARSE)
    places = {name: f"model-0000{i % 3 + 1}-of-00003.safetensors" for i, name in enumerate(weights)}
    for file in set(places.values()):
        save_file({n: v for n, v in weights.items() if places[n] == file}, source / file)
    write_index(source, places)
    assert difference(resolve(source), SPARSE, weights, tmp_path / "bundle") < CLOSE


@pytest.mark.parametrize("asked", ["by the context", "by the config"])
def test_yarn(asked: str, made: Callable[..., Path], tmp_path: Path) -> None:
    scaled = LONG | {"rope_scaling": YARN}
    plan = resolve(made(scaled if asked == "by the config" else LONG), context=131072)
    assert plan.rope_scaling == YARN
    assert difference(plan, scaled, tiny.draw(LONG), tmp_path / "bundle") < CLOSE


def test_a_short_context_is_left_as_trained(made: Callable[..., Path], tmp_path: Path) -> None:
    plan = resolve(made(LONG), context=40960)
    assert difference(plan, LONG, tiny.draw(LONG), tmp_path / "bundle") < CLOSE


def write_adapter(folder: Path, weights: Weights, rank: int = 4) -> Weights:
    """Write a LoRA adapter of every query and up projection; returns the merged weights."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    tensors, merged = {}, dict(weights)
    for name, base in weights.items():
        if "q_proj" in name or "up_proj" in name:
            a = generator.standard_normal((rank, base.shape[1]), dtype=np.float32) / 10
            b = generator.standard_normal((base.shape[0], rank), dtype=np.float32) / 10
            module = name.removesuffix(".weight")
            tensors[f"base_model.model.{module}.lora_A.weight"] = a
            tensors[f"base_model.model.{module}.lora_B.weight"] = b
            merged[name] = np.asarray(base + 8 / rank * (b @ a), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return merged


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_an_adapter(config: dict[str, Any], made: Callable[..., Path], tmp_path: Path) -> None:
    adapter, weights = tmp_path / "adapter", tiny.draw(config)
    merged = halves(write_adapter(adapter, weights))
    plan = resolve(made(config), adapter=adapter)
    # a weight between two float16 values may go to either: sums are taken in another order
    assert difference(plan, config, merged, tmp_path / "bundle") < 0.005
    assert difference(plan, config, weights, tmp_path / "again") > 0.1
