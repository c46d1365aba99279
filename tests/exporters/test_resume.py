"""A killed export is resumed, and gives the same bytes as an uninterrupted one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.bundle import open_bundle
from tests.support.exporting import PROFILES, Work
from tests.support.random_codes import write_random_awq
from tests.support.tiny import SPARSE

LARGE = SPARSE | {
    "hidden_size": 512, "moe_intermediate_size": 256, "num_experts": 16, "vocab_size": 4096,
}  # fmt: skip
"""Enough blocks that a kill finds some written and some not."""


@pytest.fixture(scope="module", params=[*PROFILES, "kept codes"])
def work(
    request: pytest.FixtureRequest,
    made: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Work:
    if request.param == "kept codes":
        return Work(PROFILES[1], write_random_awq(tmp_path_factory.mktemp("awq") / "awq", LARGE))
    return Work(request.param, made(LARGE))


@pytest.fixture(scope="module")
def whole(work: Work, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return an uninterrupted export, and the number of its blocks."""
    destination = tmp_path_factory.mktemp("whole") / "out"
    return destination, work.whole(destination)["blocks"]


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
        said = work.whole(destination)
        if part > 0.4:  # it resumed, and did not start again
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
            work.whole(destination)
        assert content(destination) == content(reference)
        open_bundle(destination, full=True)
