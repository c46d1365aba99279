"""The text of a bundle: the model's own files, except where a runtime would read them otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdeploy.tokenization.bundle_text import write_text_files
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.tokenizer_variants import (
    CONFIG,
    GENERATION,
    MISREAD,
    SETTINGS,
    TOKENIZER,
    VARIANTS,
    copy_text,
    read,
    slow,
    update,
)


def bundled(folder: Path) -> Path:
    (folder / "bundle").mkdir()
    write_text_files(find_text_files(folder / "model"), folder / "bundle")
    return folder / "bundle"


def test_files_that_any_runtime_reads_alike_are_copied(tmp_path: Path) -> None:
    model = copy_text(tmp_path / "model")
    folder = model / "additional_chat_templates"
    folder.mkdir()
    for name in ("default", "rag"):
        (folder / f"{name}.jinja").write_text("x\r\n", "utf-8", newline="")
    made = bundled(tmp_path)
    kept = [file.relative_to(model) for file in model.rglob("*") if file.is_file()]
    assert len(kept) == 6
    for kept_file in kept:
        assert (made / kept_file).read_bytes() == (model / kept_file).read_bytes()


def test_a_class_that_would_misread_the_file_is_corrected(tmp_path: Path) -> None:
    MISREAD["Llama 3 called a Llama 2"](copy_text(tmp_path / "model"))
    assert read(bundled(tmp_path), SETTINGS)["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_truncation_and_padding_do_not_travel(tmp_path: Path) -> None:
    VARIANTS["truncation and padding, plain class"](copy_text(tmp_path / "model"))
    made = read(bundled(tmp_path), TOKENIZER)
    assert made["truncation"] is None
    assert made["padding"] is None


def test_a_slow_tokenizer_becomes_a_file_that_every_runtime_reads(tmp_path: Path) -> None:
    slow(copy_text(tmp_path / "model"))
    (tmp_path / "model" / SETTINGS).unlink()
    made = bundled(tmp_path)
    assert {file.name for file in made.iterdir()} == {CONFIG, GENERATION, SETTINGS, TOKENIZER}
    assert read(made, SETTINGS)["tokenizer_class"] == "Qwen2Tokenizer"


@pytest.mark.parametrize("generation", [None, {}, {"do_sample": True, "eos_token_id": None}])
def test_stop_tokens_are_told_to_runtimes_that_read_one_file_alone(
    generation: dict[str, object] | None, tmp_path: Path
) -> None:
    model = copy_text(tmp_path / "model")
    (model / GENERATION).unlink()
    if generation is not None:
        (model / GENERATION).write_text(json.dumps(generation), "utf-8")
    update(model, CONFIG, eos_token_id=[2024, 2022])
    made = bundled(tmp_path)
    assert read(made, GENERATION) == {**(generation or {}), "eos_token_id": [2024, 2022]}
    assert Tokenizer(made).stop_ids == Tokenizer(model).stop_ids


def test_the_text_of_a_bundle_makes_the_same_bundle(tmp_path: Path) -> None:
    """Every form is normalized once; then nothing is left to change."""
    for number, (name, change) in enumerate(VARIANTS.items()):
        folder = tmp_path / str(number)
        change(copy_text(folder / "model"))
        once = bundled(folder)
        (folder / "again").mkdir()
        once.rename(folder / "again" / "model")
        twice = bundled(folder / "again")
        for file in twice.rglob("*.json"):
            before = folder / "again" / "model" / file.name
            assert file.read_bytes() == before.read_bytes(), (name, file.name)
