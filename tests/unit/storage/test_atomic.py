"""Files and directories appear whole or not at all, also after errors and kills."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import ExportFailed, OutputError
from qdeploy.storage import moves
from qdeploy.storage.atomic import atomic_directory, write_file
from tests.support import killing
from tests.support.outputs import KIND, MARKER, holds, write


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "here" / "out"


@pytest.fixture
def old(destination: Path) -> Path:
    write(destination, "old")
    return destination


Kills = list[dict[str, Any]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kills]:
    """Return the states after a kill at each step, for one mode of `killing`."""

    @cache
    def run(mode: str) -> Kills:
        root = str(tmp_path_factory.mktemp(mode))
        command = [sys.executable, killing.__file__, root, mode]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
class TestKilledAtAnyStep:
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two folders in one step")
    def test_the_old_folder_or_the_new_one_is_there_at_once(
        self, killed: Callable[[str], Kills]
    ) -> None:
        *kills, finished = killed("swap")
        assert {seen["at_once"] for seen in kills} == {"old", "new"}
        assert finished["at_once"] == "new"

    def test_without_a_swap_the_next_run_finds_the_old_folder_or_the_new_one(
        self, killed: Callable[[str], Kills]
    ) -> None:
        *kills, finished = killed("aside")
        assert {seen["at_once"] for seen in kills} == {"old", "absent", "new"}
        assert {seen["afterwards"] for seen in kills} == {"old", "new"}
        assert finished["at_once"] == "new"

    def test_a_folder_where_none_was_is_there_or_is_not(
        self, killed: Callable[[str], Kills]
    ) -> None:
        *kills, finished = killed("fresh")
        assert {seen["at_once"] for seen in kills} <= {"absent", "new"}
        assert finished["at_once"] == "new"

    @pytest.mark.parametrize("mode", ["fresh", "swap", "aside"])
    def test_the_next_run_leaves_nothing_behind(
        self, mode: str, killed: Callable[[str], Kills]
    ) -> None:
        assert all(seen["left"] == ["out"] for seen in killed(mode))


def test_parents_are_made(destination: Path) -> None:
    write(destination, "new")
    assert holds(destination) == "new"


def test_the_folder_is_replaced(old: Path) -> None:
    write(old, "new")
    assert holds(old) == "new"


@pytest.mark.parametrize("error", [ValueError("oops"), KeyboardInterrupt(), OSError("oops")])
def test_an_error_leaves_what_was_there(error: BaseException, old: Path) -> None:
    def fail_half_way() -> None:
        with atomic_directory(old, KIND, force=True) as folder:
            (folder / MARKER).write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert holds(old) == "old"


def test_nothing_is_seen_before_the_end(destination: Path) -> None:
    with atomic_directory(destination, KIND, force=False) as folder:
        (folder / MARKER).write_text("half")
        assert not destination.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_called_one(code: int, old: Path) -> None:
    def fill() -> None:
        with atomic_directory(old, KIND, force=True):
            raise OSError(code, os.strerror(code))

    with pytest.raises(ExportFailed, match="the disk is full") as caught:
        fill()
    assert caught.value.where == str(old.parent)
    assert "free space" in (caught.value.fix or "")
    assert holds(old) == "old"


def test_a_file_where_a_folder_must_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        OutputError, match="the folder cannot be written, as it is a file"
    ) as caught:
        write(tmp_path / "file" / "out", "new")
    assert caught.value.where == str(tmp_path / "file")


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere; Windows has no modes"
)
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write(tmp_path / "out", "new")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
def test_the_folder_gets_the_modes_that_any_new_folder_gets(destination: Path) -> None:
    """Work directories are private, outputs are not."""
    write(destination, "new")
    plain = destination.with_name("plain")
    plain.mkdir()
    assert destination.stat().st_mode == plain.stat().st_mode


def come(destination: Path, name: str) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    (destination / name).write_text("other")


class TestWhatComesToTheDestinationMeanwhile:
    @pytest.mark.parametrize(
        ("name", "force", "says"),
        [
            (MARKER, False, "output exists"),
            ("photo.jpg", False, "qdeploy did not write it"),
            ("photo.jpg", True, "qdeploy did not write it"),
        ],
    )
    def test_is_not_lost(self, name: str, force: bool, says: str, destination: Path) -> None:
        def run() -> None:
            with atomic_directory(destination, KIND, force=force) as folder:
                (folder / MARKER).write_text("mine")
                come(destination, name)

        with pytest.raises(OutputError, match=says):
            run()
        assert [(p.name, p.read_text()) for p in destination.iterdir()] == [(name, "other")]
        assert [p.name for p in destination.parent.iterdir()] == [destination.name]

    def test_is_not_lost_even_at_the_last_moment(
        self, destination: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def late(folder: Path, destination: Path) -> None:
            come(destination, MARKER)
            place(folder, destination)

        place = moves.place
        monkeypatch.setattr(moves, "place", late)

        def run() -> None:
            with atomic_directory(destination, KIND, force=False) as folder:
                (folder / MARKER).write_text("mine")

        with pytest.raises(OutputError, match="output exists"):
            run()
        assert holds(destination) == "other"

    def test_may_be_an_empty_folder(self, destination: Path) -> None:
        with atomic_directory(destination, KIND, force=False) as folder:
            (folder / MARKER).write_text("mine")
            destination.mkdir()
        assert holds(destination) == "mine"

    def test_is_replaced_on_request(self, destination: Path) -> None:
        with atomic_directory(destination, KIND, force=True) as folder:
            (folder / MARKER).write_text("mine")
            come(destination, MARKER)
        assert holds(destination) == "mine"


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    for content in (b"old", b"new"):
        write_file(file, content)
        assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_of_a_file_that_cannot_be_written_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, content: bytes) -> int:
        file.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "file"
    file.write_text("old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="space"):
        write_file(file, b"new")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])
