"""Weight files that are not what their name says: the cause that can be seen, and its own fix."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import CheckpointError
from tests.support.checkpoints import write_checkpoint, write_shards

WEIGHTS = "model.safetensors"
Spoil = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


def refusal(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(folder)
    assert caught.value.fix
    return caught.value


def cut(size: int) -> Spoil:
    def spoil(file: Path) -> None:
        with file.open("rb+") as opened:
            opened.truncate(size)

    return spoil


def zipped(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")


@pytest.mark.parametrize("size", [0, 3, 8, 9, 100, 5000])
def test_a_file_that_is_cut_short_is_copied_again(size: int, folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copyfile(folder / WEIGHTS, whole)
    cut(size)(folder / WEIGHTS)
    error = refusal(folder)
    assert f"not a whole safetensors file: it has {size:,} of " in error.what
    assert error.fix == "download or copy it again from where it came"
    if size >= 5000:
        assert f"{whole.stat().st_size:,} bytes" in error.what
    shutil.copyfile(whole, folder / WEIGHTS)
    read_checkpoint(folder)


@pytest.mark.parametrize(
    ("spoil", "says", "fix"),
    [
        (zipped, "a PyTorch or zip file", "as safetensors"),
        (lambda f: f.write_bytes(b"GGUF\3\0\0\0" + bytes(50)), "a GGUF file", "made from"),
        (lambda f: f.write_bytes(gzip.compress(bytes(50))), "compressed by gzip", "gunzip"),
        (lambda f: f.write_bytes(b"\x80\x02}q\0."), "a pickle", "as safetensors"),
        (lambda f: f.write_bytes(b"these are words, and no weights"), "not a safetensors file",
         "save it again"),
        (lambda f: f.write_bytes(f.read_bytes() + b"more"), "not a valid safetensors file",
         "save it again"),
        (lambda f: f.write_bytes(b"\3\0\0\0\0\0\0\0{]}"), "not a safetensors file", "save it"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_named(spoil: Spoil, says: str, fix: str, folder: Path) -> None:
    spoil(folder / WEIGHTS)
    error = refusal(folder)
    assert says in error.what
    assert fix in str(error.fix)
    assert error.where == str(folder / WEIGHTS)
    assert "download" not in str(error.fix)


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
@pytest.mark.parametrize("installed", [True, False])
def test_a_pointer_of_git_lfs_is_pulled(
    name: str, installed: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (folder / name).read_bytes()
    (folder / ".git").mkdir()
    monkeypatch.setattr(shutil, "which", lambda name: name if installed else None)
    (folder / name).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1503300328\n"
    )
    error = refusal(folder)
    assert error.what == "a Git LFS pointer, not the file itself"
    assert error.where == str(folder / name)
    first = "" if installed else "install git-lfs, then "
    assert error.fix == f"{first}git -C {folder} lfs pull"
    (folder / name).write_bytes(content)  # what that command does
    read_checkpoint(folder)


def test_a_pointer_outside_of_a_repository_is_downloaded(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert str(refusal(folder).fix).startswith("hf download ORGANIZATION/NAME")


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
def test_a_snapshot_that_was_copied_without_its_blobs(
    name: str, folder: Path, tmp_path: Path
) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / name).symlink_to("../../blobs/0123")
    error = refusal(folder)
    assert error.what == "a link to a file that is not there"
    assert "cp -rL" in str(error.fix)
    (folder / name).unlink()
    (folder / name).write_bytes(content)  # what cp -rL copies
    read_checkpoint(folder)


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
def test_a_web_page_was_saved_in_place_of_the_file(name: str, folder: Path) -> None:
    (folder / name).write_text("\n<!DOCTYPE html>\n<html></html>")
    assert refusal(folder).what == "a web page, not the file itself"


class TestFix:
    def test_of_a_snapshot_in_the_hubs_cache(self, tmp_path: Path) -> None:
        folder = tmp_path / "models--a--b" / "snapshots" / "0123"
        write_shards(folder)
        shard = folder / "model-00002-of-00002.safetensors"
        cut(500)(shard)
        assert refusal(folder).fix == "hf download a/b --force-download"
        shard.unlink()
        assert refusal(folder).fix == "hf download a/b"
        shard.symlink_to(tmp_path / "blob")
        assert refusal(folder).what == "a link to a file that is not there"
        assert refusal(folder).fix == "hf download a/b"

    def test_of_a_folder_that_the_hubs_tool_filled(self, folder: Path) -> None:
        (folder / ".cache" / "huggingface").mkdir(parents=True)
        cut(500)(folder / WEIGHTS)
        assert refusal(folder).fix == (
            f"hf download ORGANIZATION/NAME --local-dir {folder} --force-download"
        )

    def test_of_an_index_that_is_a_page(self, tmp_path: Path) -> None:
        write_shards(tmp_path)
        index = tmp_path / "model.safetensors.index.json"
        index.write_text("<html>")
        assert refusal(tmp_path).what == "a web page, not the file itself"
