"""Weights that the verification dequantizes are those that were encoded, and transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.verification.dequantized import float_weights
from qdeploy.verification.libraries import quiet
from tests.support.zoo import base, quantized, small_floats
from tests.support.zoo.case import MODEL, Case

torch = pytest.importorskip("torch", reason="needs qdeploy[verify]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[verify]")
pytest.importorskip("compressed_tensors", reason="needs qdeploy[verify]")

EVERY = (*quantized.CASES, *small_floats.CASES)
LOADED = [
    case for case in quantized.CASES
    if case.name.startswith(("packed", "int8", "naive", "float8")) and "experts" not in case.name
]  # fmt: skip
"""Cases that transformers loads on a CPU, by the library that wrote them."""


def read(case: Case, folder: Path) -> dict[str, Any]:
    case.make(folder)
    config = json.loads((folder / MODEL / "config.json").read_text(encoding="utf-8"))
    with quiet():
        return float_weights(folder / MODEL, config.get("quantization_config", {}))


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_every_layer_is_what_was_encoded_but_for_rounding(case: Case, tmp_path: Path) -> None:
    found = read(case, tmp_path)
    config = json.loads((tmp_path / MODEL / "config.json").read_text(encoding="utf-8"))
    write = base.sparse if "num_experts" in config else base.dense
    tied = config["tie_word_embeddings"]
    wanted = base.read(write(tmp_path / "float", tie_word_embeddings=tied))
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        weight = weight.float()
        apart = (found[name].float() - weight).norm() / weight.norm()
        assert apart < (0.15 if name.endswith("_proj.weight") else 1e-7), name


@pytest.mark.parametrize("case", LOADED, ids=lambda case: case.name)
def test_compressed_tensors_is_what_transformers_loads(case: Case, tmp_path: Path) -> None:
    found = read(case, tmp_path)
    with quiet():
        settings = transformers.CompressedTensorsConfig(run_compressed=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / MODEL, dtype=torch.float32, quantization_config=settings
        )
    for name, weight in model.named_parameters():
        if name.endswith("_proj.weight"):
            assert torch.equal(found[name], weight.float()), name


def test_fp8_is_what_transformers_loads(tmp_path: Path) -> None:
    [case] = [case for case in quantized.CASES if case.name == "FP8 in blocks"]
    found = read(case, tmp_path)
    with quiet():
        settings = transformers.FineGrainedFP8Config(dequantize=True, weight_block_size=(64, 64))
        model = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / MODEL, dtype=torch.float32, quantization_config=settings
        )
    for name, weight in model.named_parameters():
        if name.endswith("_proj.weight"):
            assert torch.equal(found[name], weight), name
