"""Folders and files that are no adapter: what they are, and what helps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from qdeploy.checkpoint.adapters.recognize import check_folder
from qdeploy.errors import CheckpointError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
STEPS = [f"checkpoint-{step}/{name}" for step in (9, 100) for name in (CONFIG, WEIGHTS)]


def folder_of(place: Path, names: Sequence[str]) -> Path:
    for name in names:
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({}))
    return place


def refusal(place: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        check_folder(place)
    return caught.value


@pytest.mark.parametrize(
    ("names", "what", "fix"),
    [
        ([CONFIG, "adapter_model.bin"], "pickled", "weights_only=True"),
        (STEPS, "training run", "--adapter {}/checkpoint-100"),
        ([CONFIG, *STEPS], "training run", "--adapter {}/checkpoint-100"),
        ([f"default/{CONFIG}", f"default/{WEIGHTS}"], "in folders below", "--adapter {}/default"),
        ([f"{a}/{CONFIG}" for a in "abcd"], "in folders below",
         "--adapter {0}/a, --adapter {0}/b, --adapter {0}/c, ..."),
        ([CONFIG, "adapters.safetensors"], "an adapter of MLX", "mlx_lm fuse"),
        (["lora-f16.gguf"], "llama.cpp", "the PEFT adapter that it was made from"),
        (["config.json", "model.safetensors"], "a whole model", "qdeploy export {}"),
        (["config.json", "qdeploy.json"], "a bundle", "qdeploy run {}"),
        ([CONFIG, "adapter_model-00001-of-00002.safetensors"], "in several files", "one file"),
        ([CONFIG], f"{WEIGHTS} is missing", "save_pretrained"),
        ([WEIGHTS], f"{CONFIG} is missing", "save_pretrained"),
    ],
)  # fmt: skip
def test_a_folder(tmp_path: Path, names: Sequence[str], what: str, fix: str) -> None:
    place = folder_of(tmp_path / "it", names)
    found = refusal(place)
    assert what in found.what
    assert fix.format(place) in (found.fix or "")


def test_an_adapter_is_let_through(tmp_path: Path) -> None:
    check_folder(folder_of(tmp_path, [CONFIG, WEIGHTS, *STEPS]))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_file_of_it(tmp_path: Path, name: str) -> None:
    found = refusal(folder_of(tmp_path, [CONFIG, WEIGHTS]) / name)
    assert f"--adapter {tmp_path}" in (found.fix or "")


def test_another_file(tmp_path: Path) -> None:
    assert "the folder of an adapter" in (
        refusal(folder_of(tmp_path, ["x.bin"]) / "x.bin").fix or ""
    )


def test_nothing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").what == "no such directory"


def test_an_id_of_the_hub_is_downloaded_first() -> None:
    found = refusal(Path("someone/an-adapter"))
    fix = "hf download someone/an-adapter --local-dir an-adapter; then give --adapter an-adapter"
    assert fix in (found.fix or "")
