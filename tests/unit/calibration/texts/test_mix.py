"""The shares of a mix, and that it is made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.calibration.texts import general_texts, mix
from qdeploy.calibration.texts.mix import FILE_NAME, Mix, default_sequences, own_shape
from qdeploy.calibration.texts.sequences import LENGTH
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import InputError
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import tiny
from tests.support.tiny import DENSE

WORDS = "A sentence of some words is followed by the next one, and that by another. " * 30


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a few records in place of the project's general texts."""
    file = tmp_path / "general.jsonl"
    lines = [json.dumps({"kind": "prose", "text": f"<{n}> {WORDS}"}) for n in range(8)]
    file.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(general_texts, "FILE", file)
    monkeypatch.setattr(mix, "FILE", file)
    return file


def make(checkpoint: Path, folder: Path, told: list[int] | None = None, **options: Any) -> Mix:
    found = read_checkpoint(checkpoint)
    folder.mkdir(exist_ok=True)
    with open_weights(found) as source:
        return default_sequences(
            source, found.architecture, found.graph(None), Tokenizer(checkpoint), folder=folder,
            progress=lambda done, of: told.append(done) if told is not None else None, **options,
        )  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "it", DENSE)


def shares(found: Mix) -> dict[str, int]:
    return {origin.name: origin.tokens for origin in found.sequences.origins}


def test_half_of_the_tokens_is_of_the_general_texts(checkpoint: Path, tmp_path: Path) -> None:
    told: list[int] = []
    found = make(checkpoint, tmp_path / "work", told, tokens=2048)
    assert shares(found) == {"own": 1024, "general": pytest.approx(1024, abs=8)}
    assert not found.warnings
    assert told[-1] == LENGTH
    again: list[int] = []
    assert make(checkpoint, tmp_path / "work", again, tokens=2048) == found
    assert not again


def test_a_users_texts_take_the_place_of_the_models(checkpoint: Path, tmp_path: Path) -> None:
    user = tmp_path / "mine.txt"
    user.write_text("".join(f"{n} {WORDS}" for n in range(99)), encoding="utf-8")
    found = make(checkpoint, tmp_path / "work", tokens=2048, user=user)
    assert shares(found) == {
        "mine.txt": pytest.approx(1536, abs=8), "general": pytest.approx(512, abs=8),
    }  # fmt: skip
    user.write_text("".join(f"{n} again {WORDS}" for n in range(99)), encoding="utf-8")
    assert make(checkpoint, tmp_path / "work", tokens=2048, user=user) != found


def test_a_short_file_is_warned_of_each_time(checkpoint: Path, tmp_path: Path) -> None:
    user = tmp_path / "mine.txt"
    user.write_text(WORDS, encoding="utf-8")
    for _ in range(2):
        found = make(checkpoint, tmp_path / "work", tokens=8192, user=user)
        assert "are advised" in found.warnings[0]
        assert shares(found)["general"] > 1000


def test_a_bad_file_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        make(checkpoint, tmp_path / "work", user=tmp_path / "none")


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"key": "other"}'])
def test_a_damaged_result_is_made_again(damage: bytes, checkpoint: Path, tmp_path: Path) -> None:
    found = make(checkpoint, tmp_path / "work", tokens=1024)
    (tmp_path / "work" / FILE_NAME).write_bytes(damage)
    assert make(checkpoint, tmp_path / "work", tokens=1024) == found


def test_other_general_texts_give_another_mix(checkpoint: Path, tmp_path: Path, few: Path) -> None:
    found = make(checkpoint, tmp_path / "work", tokens=1024)
    few.write_text(few.read_text(encoding="utf-8").replace("some", "many"), encoding="utf-8")
    other = make(checkpoint, tmp_path / "work", tokens=1024)
    assert other.sequences.origins[0] == found.sequences.origins[0]
    assert other.sequences.origins[1] != found.sequences.origins[1]


def test_large_models_write_as_many_tokens_in_fewer_passes() -> None:
    assert own_shape(600_000_000, 12_288) == (48, 256)
    assert own_shape(8_000_000_000, 12_288) == (192, 64)
    assert own_shape(600_000_000, 100) == (1, 256)


def test_the_embedded_model_has_its_default(tmp_path: Path) -> None:
    found = make(models.path("qwen3-nano"), tmp_path / "work", tokens=512)
    assert [origin.name for origin in found.sequences.origins] == ["own", "general"]
