"""The float reference: golden logits, a second forward in NumPy, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.forward.forward import Forward
from tests.support import forward, tiny
from tests.support.evaluating import logits_of, no_progress
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE
from tests.support.weights import FP8_CONFIG, f32, fp8, save_checkpoint

CLOSE = 3e-5
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "yarn": DENSE | {"rope_scaling": YARN},
    "one key a query": DENSE | {"num_key_value_heads": 4},
    "experts": SPARSE,
    "routing weights as they are": SPARSE | {"norm_topk_prob": False},
    "every second layer": SPARSE | {"decoder_sparse_step": 2},
    "but the first layer": SPARSE | {"mlp_only_layers": [0]},
    "qwen2": QWEN2,
    "llama": LLAMA,
}
IDS = np.random.default_rng(0).integers(0, 2000, 40).tolist()
WIDE = DENSE | {"hidden_size": 1024, "intermediate_size": 2560, "num_hidden_layers": 2}
"""A layer's weights are 44 MB as float32: more than a block, so that keeping one would show."""
SLACK = 24 * 2**20


@pytest.mark.parametrize("name", models.EMBEDDED)
def test_golden_logits_come_out(name: str) -> None:
    golden = load_file(models.path(name) / "golden.safetensors")
    found = read_checkpoint(models.path(name))
    passages = [golden[f"{k}.input_ids"].tolist() for k in range(6)]
    with open_weights(found) as source:
        model = Forward(source, found.architecture, found.decoder.graph(None))
        for k, hidden in enumerate(model.hidden(passages, no_progress)):
            assert np.abs(model.logits(hidden) - golden[f"{k}.logits"]).max() < 1e-4


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_variants_agree_with_the_plain_forward(config: dict[str, Any], tmp_path: Path) -> None:
    found = logits_of(tiny.write(tmp_path / "it", config), IDS)
    wanted = forward.logits(config, tiny.draw(config).__getitem__, IDS)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < CLOSE


def test_fp8_in_blocks(tmp_path: Path) -> None:
    config = DENSE | FP8_CONFIG
    random = np.random.default_rng(1)
    tensors = {}
    for name, values in tiny.draw(DENSE).items():
        if "proj" not in name:
            tensors[name] = f32(values)
            continue
        tensors[name] = fp8(random.integers(0, 0x38, values.shape) | random.choice([0, 0x80]))
        blocks = tuple(-(-size // 128) for size in values.shape)
        tensors[name + "_scale_inv"] = f32(random.uniform(0.05, 0.2, blocks))
    made = save_checkpoint(tmp_path / "it", tensors, config)
    with open_weights(made) as source:
        wanted = forward.logits(config, source.rows, IDS)
    assert np.abs(logits_of(made.folder, IDS) - wanted).max() < CLOSE


def test_sequences_do_not_see_each_other(tmp_path: Path) -> None:
    found = read_checkpoint(tiny.write(tmp_path / "it", SPARSE))
    with open_weights(found) as source:
        model = Forward(source, found.architecture, found.decoder.graph(None))
        together = model.hidden([IDS[:13], IDS, IDS[5:6]], no_progress)
        for ids, hidden in zip([IDS[:13], IDS, IDS[5:6]], together, strict=True):
            assert np.abs(hidden - model.hidden([ids], no_progress)[0]).max() < CLOSE


def test_more_queries_than_a_block_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.write(tmp_path / "it", DENSE)
    whole = logits_of(folder, IDS)
    monkeypatch.setattr("qdeploy.forward.arithmetic.QUERIES", 7)
    assert np.abs(logits_of(folder, IDS) - whole).max() < CLOSE


def test_an_expert_that_no_token_chose_is_not_read(tmp_path: Path) -> None:
    found = read_checkpoint(tiny.write(tmp_path / "it", SPARSE | {"num_experts_per_tok": 1}))
    read: list[str] = []

    class Watched(WeightReader):
        def rows(self, name: str, *rows: Any, **options: Any) -> Any:
            read.append(name)
            return super().rows(name, *rows, **options)

    with open_weights(found) as source:
        source.__class__ = Watched
        Forward(source, found.architecture, found.decoder.graph(None)).hidden([[7]], no_progress)
    experts = [name for name in read if ".experts." in name]
    assert len(experts) == 3 * SPARSE["num_hidden_layers"]


def test_progress_counts_layers(tmp_path: Path) -> None:
    found = read_checkpoint(tiny.write(tmp_path / "it", DENSE))
    told: list[tuple[int, int]] = []
    with open_weights(found) as source:
        model = Forward(source, found.architecture, found.decoder.graph(None))
        model.hidden([IDS], lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
def test_eight_layers_take_no_more_memory_than_two(tmp_path: Path) -> None:
    def peak(layers: int) -> int:
        folder = tiny.write(tmp_path / str(layers), WIDE | {"num_hidden_layers": layers})
        command = [sys.executable, "-m", "tests.support.evaluating", str(folder), "256"]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert peak(8) < peak(2) + SLACK
