"""Weighing tokens as a run: its file, the room and the memory it needs, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qdeploy.calibration.importance.importance import FILE, STATES, stored_bytes
from qdeploy.checkpoint.read import read_checkpoint
from tests.support import tiny
from tests.support.tiny import DENSE
from tests.support.weighing import SMALL, TOKENS, weigh

SLACK = 5 * 2**20


def test_it_needs_room_for_the_residual_stream_and_leaves_the_result_alone(tmp_path: Path) -> None:
    folder, sizes = tiny.write(tmp_path / "it", SMALL), []

    def progress(*_: int) -> None:
        sizes.append((folder / "kept" / STATES).stat().st_size)

    weigh(folder, progress=progress)
    needed = stored_bytes(read_checkpoint(folder).decoder.graph(None), TOKENS)
    assert 0.9 * needed < max(sizes) <= needed
    assert [path.name for path in (folder / "kept").iterdir()] == [FILE]


def test_a_result_that_is_there_is_not_computed_again(tmp_path: Path) -> None:
    folder, told = tiny.write(tmp_path / "it", SMALL), []
    first = weigh(folder)
    again = weigh(folder, progress=lambda *counts: told.append(counts))
    assert not told
    for name in first.shares:
        assert (first.of(name) == again.of(name)).all()


@pytest.mark.parametrize("content", [b"", b"half a file", None], ids=["empty", "cut", "other"])
def test_a_file_that_is_not_the_result_is_replaced(content: bytes | None, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", SMALL)
    if content is None:
        weigh(folder, [[1, 2]])
    else:
        (folder / "kept").mkdir()
        (folder / "kept" / FILE).write_bytes(content)
    assert len(weigh(folder).of("model.layers.0.mlp.down_proj.weight")) == TOKENS
    read = weigh(folder, progress=pytest.fail)
    assert len(read.of("model.layers.0.mlp.down_proj.weight")) == TOKENS


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", SMALL)

    def interrupted(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weigh(folder, progress=interrupted)
    assert not list((folder / "kept").iterdir())


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    weigh(
        tiny.write(tmp_path / "it", SMALL), progress=lambda done, total: told.append((done, total))
    )
    assert told == [(k, told[-1][0]) for k in range(len(told))]
    assert len(told) > 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
def test_memory_does_not_grow_with_tokens(tmp_path: Path) -> None:
    shape = {"hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 1}
    folder = tiny.write(tmp_path / "it", DENSE | shape)

    def peak(tokens: int) -> int:
        command = [sys.executable, "-m", "tests.support.token_importance", str(folder), str(tokens)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    # one array of 1536 more tokens would be 6 MiB
    assert peak(2048) < peak(512) + SLACK
