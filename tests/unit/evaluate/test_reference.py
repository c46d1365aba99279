"""The cache of the float reference: exact, and found by content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy import cache
from qdeploy.errors import CheckpointError
from qdeploy.evaluate.reference import FloatReference
from qdeploy.forward.forward import Forward
from tests.support import tiny
from tests.support.checkpoints import SMALL, shapes, write_checkpoint, write_weights
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE

A, B = (1, 2, 3, 4, 5), (7, 8, 9)


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model", DENSE)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many passages were computed, call by call."""
    counts: list[int] = []
    plain = Forward.hidden

    def counting(self: Forward, sequences: Any, progress: Any) -> Any:
        counts.append(len(sequences))
        return plain(self, sequences, progress)

    monkeypatch.setattr(Forward, "hidden", counting)
    return counts


def opened(model: Path, digest: str = "digest", **options: Any) -> FloatReference:
    return FloatReference(read_checkpoint(model), digest, **options)


def test_a_passage_is_computed_once_and_then_read(model: Path, computed: list[int]) -> None:
    with opened(model) as first:
        first.prepare([A, A], no_progress)
        wanted = first.logits(A)
    with opened(model) as second:
        second.prepare([A, B], no_progress)
        assert np.array_equal(second.logits(A), wanted)
        assert np.array_equal(second.logits(A, 3), wanted[3:])
    assert computed == [1, 1]


def test_other_content_is_another_entry(model: Path, computed: list[int]) -> None:
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 2048}
    for options in ({}, {"digest": "another"}, {"rope_scaling": yarn}):
        with opened(model, **options) as reference:
            reference.prepare([A], no_progress)
    assert computed == [1, 1, 1]
    assert len(cache.entries()) == 3


def test_it_is_listed_and_cleared(model: Path) -> None:
    with opened(model) as reference:
        reference.prepare([A, B], no_progress)
    [entry] = cache.entries()
    assert entry.path.name.startswith("model-")
    assert entry.nbytes > 4 * DENSE["hidden_size"] * (len(A) + len(B))
    cache.clear((entry.path.name,))
    assert cache.entries() == []


def test_a_spoilt_entry_is_computed_anew(model: Path, computed: list[int]) -> None:
    with opened(model) as reference:
        reference.prepare([A], no_progress)
        wanted = reference.logits(A)
    [file] = reference.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    with opened(model) as again:
        again.prepare([A], no_progress)
        assert np.array_equal(again.logits(A), wanted)
    assert computed == [1, 1]


def test_without_a_place_to_keep_it_the_numbers_are_the_same(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "file"))
    with opened(model) as reference:
        reference.prepare([A], no_progress)
        assert reference.logits(A).shape == (len(A), DENSE["vocab_size"])


def test_tensors_that_are_not_the_configs(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "it")
    one_less = dict(list(shapes(SMALL).items())[:-1])
    write_weights(folder / "model.safetensors", one_less)
    with pytest.raises(CheckpointError, match="1 missing"):
        opened(folder)
