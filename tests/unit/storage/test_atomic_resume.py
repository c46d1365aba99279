"""Work with a key is resumed after a run that did not finish it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from qdeploy.errors import ExportFailed, OutputError
from qdeploy.interface import SCRATCH
from qdeploy.storage.atomic import OutputKind, atomic_directory
from qdeploy.storage.workdir import FILES

KEY = "0123456789abcdef"
KIND = OutputKind("content", lambda _: ["content"])


def appears_at(destination: Path, key: str | None = None) -> AbstractContextManager[Path]:
    return atomic_directory(destination, KIND, force=True, key=key)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "out"


def begin(folder: Path, note: str = "half") -> None:
    (folder / SCRATCH).mkdir()
    (folder / SCRATCH / "journal").write_text(note)
    (folder / "content").write_text(note)


def interrupt(destination: Path, error: BaseException | None = None, key: str | None = KEY) -> None:
    """Start a run that ends with an error."""
    error = error or KeyboardInterrupt()

    def run() -> None:
        with appears_at(destination, key=key) as folder:
            begin(folder)
            raise error

    with pytest.raises((type(error), ExportFailed)):
        run()


def left_beside(destination: Path) -> list[str]:
    return [p.name for p in destination.parent.iterdir() if p != destination]


def test_the_next_run_resumes(destination: Path) -> None:
    interrupt(destination)
    assert not destination.exists()
    with appears_at(destination, key=KEY) as folder:
        assert (folder / "content").read_text() == "half"
        assert (folder / SCRATCH / "journal").read_text() == "half"
        (folder / "content").write_text("whole")
    assert [p.name for p in destination.iterdir()] == ["content"]
    assert (destination / "content").read_text() == "whole"
    assert left_beside(destination) == []


def test_after_a_full_disk_the_next_run_resumes(destination: Path) -> None:
    interrupt(destination, OSError(errno.ENOSPC, "no space"))
    with appears_at(destination, key=KEY) as folder:
        assert (folder / "content").read_text() == "half"


def test_a_run_of_another_key_starts_again_and_deletes_it(destination: Path) -> None:
    interrupt(destination)
    with appears_at(destination, key="f" * 16) as folder:
        assert list(folder.iterdir()) == []
        assert left_beside(destination) == [folder.parent.name]


def test_a_run_without_a_key_starts_again_and_deletes_it(destination: Path) -> None:
    interrupt(destination)
    with appears_at(destination) as folder:
        assert list(folder.iterdir()) == []
        assert left_beside(destination) == [folder.parent.name]


def test_without_scratch_nothing_is_resumed(destination: Path) -> None:
    """It may be an old output that another run has replaced and is deleting."""
    left = destination.with_name(f".{destination.name}.partial-0123abcd-{KEY}")
    (left / FILES).mkdir(parents=True)
    (left / FILES / "content").write_text("old")
    with appears_at(destination, key=KEY) as folder:
        assert list(folder.iterdir()) == []
        assert left_beside(destination) == [folder.parent.name]


def test_without_a_key_nothing_is_left(destination: Path) -> None:
    interrupt(destination, key=None)
    assert left_beside(destination) == []


def test_without_scratch_nothing_is_left(destination: Path) -> None:
    def run() -> None:
        with appears_at(destination, key=KEY) as folder:
            (folder / "content").write_text("half")
            raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        run()
    assert left_beside(destination) == []


def test_a_run_that_is_alive_keeps_its_folder(destination: Path) -> None:
    with appears_at(destination, key=KEY) as first:
        begin(first)
        with appears_at(destination, key=KEY) as second:
            assert second != first
            assert list(second.iterdir()) == []
        assert (first / "content").read_text() == "half"


def test_a_run_whose_output_exists_by_then_can_be_resumed(destination: Path) -> None:
    def run() -> None:
        with atomic_directory(destination, KIND, force=False, key=KEY) as folder:
            begin(folder)
            destination.mkdir()
            (destination / "content").write_text("other")

    with pytest.raises(OutputError, match="output exists"):
        run()
    assert (destination / "content").read_text() == "other"
    with appears_at(destination, key=KEY) as folder:
        assert (folder / "content").read_text() == "half"


def test_of_two_interrupted_runs_one_is_resumed(destination: Path) -> None:
    def run() -> None:
        with appears_at(destination, key=KEY) as first, appears_at(destination, key=KEY) as second:
            begin(first, "one")
            begin(second, "other")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    with appears_at(destination, key=KEY) as folder:
        assert (folder / "content").read_text() in ("one", "other")
    assert left_beside(destination) == []


WORKING = """
import sys
from pathlib import Path
from tests.unit.storage.test_atomic_resume import KEY, appears_at, begin
with appears_at(Path(sys.argv[1]), key=KEY) as folder:
    begin(folder)
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_run_resumes_after_a_killed_process(destination: Path) -> None:
    """While it is alive, its directory is left alone."""
    command = [sys.executable, "-c", WORKING, str(destination)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        half = Path(other.stdout.readline().strip())
        with appears_at(destination) as folder:
            assert folder != half
        assert (half / "content").read_text() == "half"
        other.kill()
    with appears_at(destination, key=KEY) as folder:
        assert folder == half
        assert (folder / "content").read_text() == "half"
        (folder / "content").write_text("whole")
    assert (destination / "content").read_text() == "whole"
    assert left_beside(destination) == []


def test_a_run_resumes_after_a_process_of_the_same_id(destination: Path) -> None:
    """In a container every run may have the same process id."""
    left = destination.with_name(f".{destination.name}.partial-{os.getpid()}-{KEY}")
    (left / FILES).mkdir(parents=True)
    begin(left / FILES)
    with appears_at(destination, key=KEY) as folder:
        assert (folder / "content").read_text() == "half"
