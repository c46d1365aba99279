"""A killed export goes on where it was, and ends in the same bytes as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qdeploy import bundle
from tests.support.exporting import PROFILES
from tests.support.tiny import SPARSE

LARGE = SPARSE | {
    "hidden_size": 512, "moe_intermediate_size": 256, "num_experts": 16, "vocab_size": 4096,
}  # fmt: skip
"""Enough blocks that a kill finds some written and some not."""


@dataclass(frozen=True)
class Work:
    """What is exported, and by which profile."""

    profile: str
    source: Path

    def command(self, destination: Path, step: int = 0) -> list[str]:
        module = [sys.executable, "-m", "tests.support.exporting"]
        return [*module, self.profile, str(self.source), str(destination), str(step)]

    def run(self, destination: Path, step: int = 0) -> dict[str, Any] | None:
        """What the process says at its end; None if it was killed."""
        done = subprocess.run(self.command(destination, step), capture_output=True, text=True)
        if done.returncode == -signal.SIGKILL:
            return None
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module", params=PROFILES)
def work(request: pytest.FixtureRequest, made: Callable[..., Path]) -> Work:
    return Work(request.param, made(LARGE))


@pytest.fixture(scope="module")
def whole(work: Work, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An export that nobody interrupted, and the number of its blocks."""
    destination = tmp_path_factory.mktemp("whole") / "out"
    said = work.run(destination)
    assert said is not None
    return destination, said["blocks"]


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
class TestKilled:
    @pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
    def test_at_a_block(
        self, part: float, work: Work, whole: tuple[Path, int], tmp_path: Path
    ) -> None:
        destination, (reference, count) = tmp_path / "out", whole
        assert work.run(destination, int(part * count)) is None
        assert not destination.exists()
        said = work.run(destination)
        assert said is not None
        if part > 0.4:  # it went on, and did not start anew
            assert said["blocks"] < count
        assert content(destination) == content(reference)
        assert [p.name for p in tmp_path.iterdir()] == ["out"]

    def test_again_and_again(self, work: Work, whole: tuple[Path, int], tmp_path: Path) -> None:
        destination, (reference, count) = tmp_path / "out", whole
        kills = 0
        while work.run(destination, count // 3) is None:
            kills += 1
            assert kills < 10
        assert kills > 1
        assert content(destination) == content(reference)

    def test_at_any_moment(self, work: Work, whole: tuple[Path, int], tmp_path: Path) -> None:
        destination, (reference, _) = tmp_path / "out", whole
        for delay in (0.3, 0.6, 0.9):
            process = subprocess.Popen(work.command(destination), stdout=subprocess.DEVNULL)
            time.sleep(delay)
            process.kill()
            process.wait()
        if not destination.exists():
            assert work.run(destination) is not None
        assert content(destination) == content(reference)
        bundle.open_bundle(destination, full=True)
