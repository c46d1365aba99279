"""Work directories: those of live runs are left alone, stale ones are deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from qdeploy.storage.atomic import atomic_directory
from qdeploy.storage.workdir import LOCK, OLD, stale
from tests.support.outputs import KIND, MARKER, holds, write


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "here" / "out"


def test_the_partial_folder_of_a_live_run_is_left_alone(destination: Path) -> None:
    with atomic_directory(destination, KIND, force=True) as first:
        write(destination, "second")
        assert first.exists()


LIVING = """
import os, sys
from pathlib import Path
from qdeploy.storage.atomic import atomic_directory
from tests.support.outputs import KIND
os.getpid = lambda: 2**22 + 1
with atomic_directory(Path(sys.argv[1]), KIND, force=True) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""
"""A run with a process id that is unknown here, as in another container."""


def test_the_directory_of_a_run_in_another_container_is_left_alone(destination: Path) -> None:
    command = [sys.executable, "-c", LIVING, str(destination)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        assert folder.is_dir()
        write(destination, "new")
        assert folder.is_dir()
        other.communicate()


def test_a_stale_directory_is_deleted_even_if_another_process_has_the_id_of_its_run(
    destination: Path,
) -> None:
    destination.parent.mkdir()
    destination.with_name(f".out.partial-{os.getppid()}-abc").mkdir()
    write(destination, "new")
    assert holds(destination) == "new"


@pytest.mark.parametrize("name", ["out[1]", "o*t", "汉字", "with space", "-o"])
def test_stale_directories_are_deleted_for_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / f".{name}.partial-0123abcd").mkdir()
    write(tmp_path / name, "new")
    assert holds(tmp_path / name) == "new"


def test_leftovers_of_another_destination_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / f".{name}.partial-0123abcd" for name in ("outer", "out.partial-x", "o")]
    for other in others:
        other.mkdir()
    write(tmp_path / "out", "new")
    assert all(other.exists() for other in others)


def test_a_stale_directory_gives_back_the_output_that_it_had_moved_aside(
    destination: Path,
) -> None:
    """The process died between the two renames on a system that cannot swap directories."""
    aside = destination.with_name(".out.partial-0123abcd") / OLD
    aside.mkdir(parents=True)
    (aside / MARKER).write_text("old")

    def fail() -> None:
        with atomic_directory(destination, KIND, force=True):
            raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        fail()
    assert holds(destination) == "old"


def test_without_locks_outputs_are_written_and_other_directories_are_left_alone(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("this file system has no locks")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    other = destination.with_name(".out.partial-0123abcd")
    other.mkdir(parents=True)
    write(destination, "new")
    assert (destination / MARKER).read_text() == "new"
    assert {p.name for p in destination.parent.iterdir()} == {destination.name, other.name}


def test_a_lock_file_without_a_process_is_not_a_lock(destination: Path) -> None:
    left = destination.with_name(".out.partial-0123abcd")
    left.mkdir(parents=True)
    (left / LOCK).touch()
    assert stale(destination.parent) == [left]
    with atomic_directory(destination, KIND, force=True) as folder:
        assert stale(destination.parent) == []
        assert [p.name for p in destination.parent.iterdir()] == [folder.parent.name]
        (folder / MARKER).write_text("new")
    assert holds(destination) == "new"
