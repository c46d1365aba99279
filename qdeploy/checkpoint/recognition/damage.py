"""A file of a checkpoint that is not what its name says: what it is, and how to get the right one.

Only what can be seen in the file is called damaged; a file that is as its maker made it needs other
advice than to download it again.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from qdeploy.checkpoint.hub_cache import snapshot_id
from qdeploy.checkpoint.recognition.recognize import shell
from qdeploy.errors import CheckpointError

HEAD_BYTES = 512
"""Bytes at the beginning of a file that tell what it is."""
DOWNLOAD = "hf download ORGANIZATION/NAME --local-dir DIR, and give DIR"
POINTER = b"version https://git-lfs.github.com/spec/"
SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""Of the files of a checkpoint."""
LENGTH = struct.Struct("<Q")
"""Length of a safetensors header, at the beginning of the file."""
MOST_HEADER_BYTES = 100_000_000
"""The safetensors library takes no longer header."""


class Sign(NamedTuple):
    """Bytes that a file of another kind begins with, what it is, and what to do."""

    begins: bytes
    what: str
    fix: str


OTHER_FILES = (
    Sign(b"PK\x03\x04", "a PyTorch or zip file", "give the weights as safetensors"),
    Sign(b"\x80\x02", "a pickle of PyTorch", "give the weights as safetensors"),
    Sign(b"GGUF", "a GGUF file", "give the checkpoint that it was made from"),
    Sign(b"\x1f\x8b", "compressed by gzip", "unpack it with gunzip"),
    Sign(b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with zstd -d"),
    Sign(b"\x89HDF", "an HDF5 file", "give the weights as safetensors"),
)


def check_links(folder: Path) -> None:
    """Check that no file of the checkpoint in *folder* is a link to a file that is not there.

    Raises:
        CheckpointError: one is.
    """
    for file in sorted(folder.iterdir()):
        if file.suffix in SUFFIXES and file.is_symlink() and not file.exists():
            raise why_missing(file)


def check_fetched(files: Iterable[Path]) -> None:
    """Check that the *files* that exist are the files themselves, not what stands for them.

    Raises:
        CheckpointError: one is a Git LFS pointer or a web page.
    """
    for file in files:
        if error := _stand_in(file, _head(file)):
            raise error


def why_missing(file: Path) -> CheckpointError:
    """Return the error for a file that is not there."""
    fetch = _fetch(file, force=False)
    if not os.path.lexists(file):
        return CheckpointError("weight file is missing", where=file, fix=fetch)
    # the links of a snapshot in the hub's cache are relative, and lead nowhere in a copy
    fix = fetch if snapshot_id(file.parent) else f"{fetch}, with what links lead to (cp -rL)"
    return CheckpointError("a link to a file that is not there", where=file, fix=fix)


def why_unreadable(file: Path, said: object) -> CheckpointError:
    """Return the error for a file that the safetensors library refuses, with what it *said*."""
    head = _head(file)
    if error := _stand_in(file, head):
        return error
    for sign in OTHER_FILES:
        if head.startswith(sign.begins):
            what = f"not a safetensors file but {sign.what}"
            return CheckpointError(what, where=file, fix=sign.fix)
    size = file.stat().st_size if file.is_file() else 0
    whole = _whole_size(file, size)
    if whole is None:
        return CheckpointError(
            f"not a safetensors file ({said})",
            where=file,
            fix="save it again with safetensors, e.g. by save_pretrained",
        )
    if size < whole:
        return CheckpointError(
            f"not a whole safetensors file: it has {size:,} of {whole:,} bytes",
            where=file,
            fix=_fetch(file, force=True),
        )
    return CheckpointError(
        f"not a valid safetensors file ({said})",
        where=file,
        fix="save it again with safetensors, e.g. by save_pretrained",
    )


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError:
        return b""


def _stand_in(file: Path, head: bytes) -> CheckpointError | None:
    """The error for what a file's *head* shows to stand for the file, or None."""
    if head.startswith(POINTER):
        return CheckpointError(
            "a Git LFS pointer, not the file itself",
            where=file,
            fix=_pull(file.parent),
        )
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return CheckpointError(
            "a web page, not the file itself",
            where=file,
            fix=DOWNLOAD,
        )
    return None


def _pull(folder: Path) -> str:
    """How to get the files of a folder that Git LFS has pointers of."""
    if not any((place / ".git").exists() for place in (folder, *folder.absolute().parents)):
        return DOWNLOAD
    command = f"git -C {shell(folder)} lfs pull"
    return command if shutil.which("git-lfs") else f"install git-lfs, then {command}"


def _whole_size(file: Path, size: int) -> int | None:
    """Bytes that a safetensors file must have by its header, at least; None if it has no header."""
    if size < LENGTH.size:
        return LENGTH.size
    with file.open("rb") as opened:
        (length,) = LENGTH.unpack(opened.read(LENGTH.size))
        if length > MOST_HEADER_BYTES or opened.read(1) not in (b"{", b""):
            return None
        end = LENGTH.size + int(length)
        if size < end:
            return end
        opened.seek(LENGTH.size)
        text = opened.read(length)
    try:
        entries = json.loads(text)
        spans = [e["data_offsets"][1] for n, e in entries.items() if n != "__metadata__"]
        return end + max(map(int, spans), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None


def _fetch(file: Path, *, force: bool) -> str:
    """How to get the file again; *force* where a file of this name is there."""
    folder = file.parent
    again = " --force-download" if force else ""
    if hub_id := snapshot_id(folder):
        return f"hf download {hub_id}{again}"
    if (folder / ".cache" / "huggingface").is_dir():
        return f"hf download ORGANIZATION/NAME --local-dir {shell(folder)}{again}"
    return "download or copy it again from where it came"
