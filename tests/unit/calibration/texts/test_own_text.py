"""Text that a model writes itself: what it is drawn from, and work that was ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy import models
from qdeploy.calibration.texts import held_weights
from qdeploy.calibration.texts.own_text import CACHE, STATE, own_text
from qdeploy.calibration.texts.sampling import sample
from qdeploy.calibration.texts.turns import Script, find_turns
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.forward.forward import Forward
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import llama, tiny
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE, QWEN2, SPARSE
from tests.support.tokenizer_variants import settings

COUNT, LENGTH, SEED = 3, 40, 5


def write(
    checkpoint: Path,
    folder: Path,
    progress: Any = no_progress,
    *,
    seed: int = SEED,
    length: int = LENGTH,
    count: int = COUNT,
) -> list[tuple[int, ...]]:
    """Let a checkpoint write."""
    found = read_checkpoint(checkpoint)
    folder.mkdir(exist_ok=True)
    with open_weights(found) as source:
        return own_text(
            source, found.architecture, found.decoder.graph(None), Tokenizer(checkpoint),
            sequences=count, length=length, seed=seed, folder=folder, progress=progress,
        )  # fmt: skip


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("it") / "sparse", SPARSE)


def generator(row: int, position: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([SEED, row, position]))


def agreement(folder: Path, ids: list[tuple[int, ...]]) -> float:
    """Share of tokens that are those which the whole model draws after all tokens before them."""
    found, turns = read_checkpoint(folder), find_turns(Tokenizer(folder))
    with open_weights(found) as source:
        model = Forward(source, found.architecture, found.decoder.graph(None))
        head = found.architecture.head(found.decoder.graph(None))
        hidden = model.hidden(ids, no_progress)
        same = []
        for row, one in enumerate(ids):
            for position in range(len(one) - 1):
                due = Script(turns, one[: position + 1]).due
                noise = [generator(row, position)]
                state = hidden[row][position : position + 1]
                wanted = sample(source, head, state, noise)[0] if due is None else due
                same.append(one[position + 1] == wanted)
    return sum(same) / len(same)


@pytest.mark.parametrize(
    "config",
    [DENSE, SPARSE, SPARSE | {"decoder_sparse_step": 2}, QWEN2],
    ids=["dense", "experts", "every second layer", "qwen2"],
)
def test_every_token_is_drawn_from_the_model(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", config)
    ids = write(folder, tmp_path / "work")
    assert [len(one) for one in ids] == [LENGTH] * COUNT
    assert len(set(ids)) == COUNT
    # of random weights hardly any token is likely, so one from other logits would be another one
    assert agreement(folder, ids) > 0.98


def test_weights_that_are_too_large_to_hold_write_the_same(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = write(sparse, tmp_path / "held")
    monkeypatch.setattr(held_weights, "ALWAYS_BYTES", 0)
    monkeypatch.setattr(held_weights, "available_bytes", lambda: 1000)
    assert write(sparse, tmp_path / "read") == held


def test_one_seed_one_text(sparse: Path, tmp_path: Path) -> None:
    first = write(sparse, tmp_path / "a")
    assert write(sparse, tmp_path / "b") == first
    assert write(sparse, tmp_path / "c", seed=SEED + 1) != first


def test_a_sequence_does_not_depend_on_how_many_there_are(sparse: Path, tmp_path: Path) -> None:
    assert write(sparse, tmp_path / "one", count=1) == write(sparse, tmp_path / "all")[:1]


def test_a_chat_model_begins_with_a_users_turn(tmp_path: Path) -> None:
    ids = write(models.path("qwen3-nano"), tmp_path / "work", length=100, count=8)
    tokenizer = Tokenizer(models.path("qwen3-nano"))
    turns = find_turns(tokenizer)
    assert all(one[: len(turns.opening)] == turns.opening for one in ids)
    assert any("<think>" in tokenizer.token_text(token)[0] for one in ids for token in one)


def test_a_model_without_a_template_begins_with_its_first_token(tmp_path: Path) -> None:
    folder = llama.write(tmp_path / "it")
    settings("chat_template")(folder)
    for file in folder.glob("*.jinja"):
        file.unlink()
    ids = write(folder, tmp_path / "work")
    [begin] = Tokenizer(folder).prefix
    assert all(one[0] == begin for one in ids)
    assert agreement(folder, ids) > 0.98


class Ended(Exception):
    """Ends the work."""


def end_at(tokens: int) -> Any:
    def progress(done: int, of: int) -> None:
        if done == tokens:
            raise Ended

    return progress


@pytest.mark.parametrize("tokens", [2, 16, 17, 31, 39])
def test_work_that_was_ended_goes_on(tokens: int, sparse: Path, tmp_path: Path) -> None:
    with pytest.raises(Ended):
        write(sparse, tmp_path / "ended", end_at(tokens))
    told: list[int] = []
    found = write(sparse, tmp_path / "ended", lambda done, of: told.append(done))
    assert told == [*range(max(2, tokens // 16 * 16 + 1), LENGTH + 1)]
    assert found == write(sparse, tmp_path / "whole")


KILL = """
import os, sys
from pathlib import Path
from tests.unit.calibration.texts.test_own_text import write
write(Path(sys.argv[1]), Path(sys.argv[2]), lambda done, of: done == 37 and os._exit(9))
"""


def test_a_killed_process_loses_a_few_positions(sparse: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILL, str(sparse), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False).returncode == 9
    told: list[int] = []
    found = write(sparse, tmp_path / "killed", lambda done, of: told.append(done))
    assert told[0] == 33
    assert found == write(sparse, tmp_path / "whole")


def test_what_is_done_is_not_done_again(sparse: Path, tmp_path: Path) -> None:
    first = write(sparse, tmp_path / "work")
    told: list[int] = []
    assert write(sparse, tmp_path / "work", lambda done, of: told.append(done)) == first
    assert not told
    assert sorted(file.name for file in (tmp_path / "work").iterdir()) == [STATE]


def test_other_work_or_a_damaged_state_starts_anew(sparse: Path, tmp_path: Path) -> None:
    whole = write(sparse, tmp_path / "whole")
    with pytest.raises(Ended):
        write(sparse, tmp_path / "work", end_at(20), seed=SEED + 1)
    assert write(sparse, tmp_path / "work") == whole
    for damaged in (STATE, CACHE):
        with pytest.raises(Ended):
            write(sparse, tmp_path / damaged, end_at(20))
        (tmp_path / damaged / damaged).write_bytes(b"{")
        assert write(sparse, tmp_path / damaged) == whole


def test_a_lost_cache_starts_anew(sparse: Path, tmp_path: Path) -> None:
    with pytest.raises(Ended):
        write(sparse, tmp_path / "work", end_at(20))
    (tmp_path / "work" / CACHE).unlink()
    assert write(sparse, tmp_path / "work") == write(sparse, tmp_path / "whole")


def test_the_first_token_alone_needs_no_model(tmp_path: Path) -> None:
    ids = write(tiny.write(tmp_path / "it", DENSE), tmp_path / "work", length=1)
    assert [len(one) for one in ids] == [1] * COUNT
