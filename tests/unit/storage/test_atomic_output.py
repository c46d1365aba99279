"""Which existing outputs are accepted, and the errors with their fixes for all others."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdeploy.errors import OutputError
from qdeploy.storage.atomic import check_output
from tests.support.outputs import KIND, MARKER


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return an existing output."""
    folder = tmp_path / "here" / "out"
    folder.mkdir(parents=True)
    (folder / MARKER).write_text("old")
    return folder


def check(destination: Path, *, force: bool = False) -> None:
    check_output(destination, KIND, force=force)


def refusal(destination: Path, *, force: bool = False) -> OutputError:
    with pytest.raises(OutputError) as caught:
        check(destination, force=force)
    assert caught.value.where == str(destination)
    return caught.value


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    check(tmp_path / "here" / "out")


def test_an_empty_folder_is_fine(tmp_path: Path) -> None:
    check(tmp_path)


def test_an_output_needs_force(old: Path) -> None:
    error = refusal(old)
    assert (error.what, error.fix) == ("output exists", "--force replaces it")
    check(old, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_someone_elses_is_never_replaced(force: bool, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert "qdeploy did not write it" in refusal(tmp_path, force=force).what


@pytest.mark.parametrize("name", ["photo.jpg", "sub/photo.jpg"])
def test_what_others_put_into_an_output_is_never_removed(name: str, old: Path) -> None:
    (old / name).parent.mkdir(exist_ok=True)
    (old / name).write_bytes(b"")
    error = refusal(old, force=True)
    assert error.what == f"output exists and has {name!r}, which qdeploy did not write"
    assert name in (error.fix or "")


def test_what_the_system_hides_in_an_output_is(old: Path) -> None:
    (old / ".DS_Store").write_bytes(b"")
    check(old, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_never_replaced(force: bool, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert "not a directory" in refusal(file, force=force).what


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege")
@pytest.mark.parametrize("aim", ["nowhere", "out", "link"])
def test_a_link_is_never_replaced(aim: str, old: Path) -> None:
    link = old.with_name("link")
    link.symlink_to(old.with_name(aim))
    error = refusal(link, force=True)
    assert error.what == "output exists and is a link, not a directory"
    assert str(old.with_name(aim)) in (error.fix or "")


def test_a_folder_below_a_file_is_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written, as it is a file") as caught:
        check(tmp_path / "file" / "sub" / "out")
    assert caught.value.where == str(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal(tmp_path / os.fsdecode(b"q\xff")).what


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path)
    assert "mounted" in refusal(tmp_path).what


@pytest.mark.parametrize("force", [False, True])
def test_one_that_may_not_be_looked_at_is_refused(
    force: bool, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", denied)
    assert "cannot be written (Permission denied)" in refusal(old, force=force).what
