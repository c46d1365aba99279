"""Peak memory of an export does not grow with the model: equal for two layers and eight."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.native.weights_file import writer
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from tests.support.checkpoints import MOE, shape_of_0_6b, write_checkpoint
from tests.support.exporting import PROFILES, Work
from tests.support.native import resolve
from tests.support.random_codes import write_random_awq
from tests.support.tiny import DENSE

WIDE = DENSE | {"hidden_size": 1024, "intermediate_size": 2560, "num_hidden_layers": 2}
"""A layer's weights are 44 MB as float32: more than a block, so that keeping one would show."""
SHAPES: dict[str, dict[str, Any]] = {
    "0.6B": shape_of_0_6b(),
    "32B": shape_of_0_6b() | {
        "hidden_size": 5120, "intermediate_size": 25600, "num_hidden_layers": 64,
        "num_attention_heads": 64, "tie_word_embeddings": False,
    },
    "235B-A22B": shape_of_0_6b() | MOE | {
        "hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64,
        "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8,
        "moe_intermediate_size": 1536, "tie_word_embeddings": False,
    },
}  # fmt: skip
SLACK = 24 * 2**20
"""Threads do not always hold the same number of blocks at once."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
@pytest.mark.parametrize("name", PROFILES)
def test_eight_layers_take_no_more_than_two_nor_than_predicted(
    name: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    two, eight = made(WIDE), made(WIDE | {"num_hidden_layers": 8})
    few, many = (
        Work(name, source).whole(tmp_path / source.parent.name)["peak"] for source in (two, eight)
    )
    chosen = load_profile(name)
    planned = make_plan(read_checkpoint(eight), chosen, registry.target(chosen.target))
    predicted = NativeExporter().peak_memory_bytes(planned)
    assert many < few + SLACK
    assert many < predicted


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
@pytest.mark.parametrize("name", ["intel-cpu-int4", "cpu-int4"])
def test_codes_that_are_kept_take_no_more(name: str, tmp_path: Path) -> None:
    shapes = {"two": WIDE, "eight": WIDE | {"num_hidden_layers": 8}}
    two, eight = (write_random_awq(tmp_path / n, shape) for n, shape in shapes.items())
    few, many = (
        Work(name, source).whole(source.parent / f"{source.name} out")["peak"]
        for source in (two, eight)
    )
    chosen = load_profile(name)
    planned = make_plan(read_checkpoint(eight), chosen, registry.target(chosen.target))
    assert "as stored" in planned.linear_label
    assert many < few + SLACK
    assert many < NativeExporter().peak_memory_bytes(planned)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_every_published_shape_is_predicted_to_fit(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "threads", lambda: writer.MOST_THREADS)
    made = resolve(write_checkpoint(tmp_path / "it", config))
    assert NativeExporter().peak_memory_bytes(made) < 1_500_000_000
