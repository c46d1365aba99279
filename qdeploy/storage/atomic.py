"""Files and directories that appear whole or not at all.

A directory is written to a work directory beside its destination (see `workdir`), on the same file
system, and moved there by one rename. An existing output is replaced only with *force*, and only if
it holds nothing that qdeploy did not write.

Long work may have a key. A run then resumes what a run of the same key left when it was killed or
when the disk was full.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from qdeploy.errors import ExportFailed, OutputError
from qdeploy.storage import listing, moves, workdir
from qdeploy.storage.workdir import SCRATCH, WorkDir

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = "choose another -o DIR"
"""Of an output that the user chose; `deploy.obtain` has words of its own for the cache."""


@dataclass(frozen=True)
class OutputKind:
    """How to recognize an output that qdeploy wrote.

    Attributes:
        marker: a file that every output of this kind has.
        contents: returns the POSIX paths of the files that qdeploy wrote to an output. Raises
            OutputError if they are not known.
    """

    marker: str
    contents: Callable[[Path], Collection[str]]


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step, and the directories above it.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        with contextlib.suppress(OSError):  # after the rename there is nothing to delete
            fresh.unlink()


def check_output(destination: Path, kind: OutputKind, *, force: bool) -> None:
    """Refuse a destination that exists, unless *force* is given and qdeploy wrote all of it.

    Raises:
        OutputError: the destination cannot be used.
    """
    try:
        workdir.settle(destination.absolute())
        _check_place(destination)
        if os.path.lexists(destination) and any(destination.iterdir()):
            _check_contents(destination, kind, force=force)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})", where=destination, fix=ELSEWHERE
        ) from None


def _check_place(destination: Path) -> None:
    try:
        os.fspath(destination).encode()
    except UnicodeEncodeError:
        raise OutputError(
            "the name is not UTF-8 text, and runtimes take no other",
            where=destination,
            fix=ELSEWHERE,
        ) from None
    parents = destination.absolute().parents
    above = next((folder for folder in parents if os.path.lexists(folder)), None)
    if above and not above.is_dir():
        raise OutputError(
            "the folder cannot be written, as it is a file", where=above, fix=ELSEWHERE
        )
    if destination.is_symlink():
        raise OutputError(
            "output exists and is a link, not a directory",
            where=destination,
            fix=f"-o {os.path.realpath(destination)}, or remove the link",
        )
    if os.path.ismount(destination):
        raise OutputError(
            "output is where a file system is mounted, and cannot be moved there",
            where=destination,
            fix="choose a folder below it, with -o DIR",
        )
    if os.path.lexists(destination) and not destination.is_dir():
        raise OutputError("output exists and is not a directory", where=destination, fix=ELSEWHERE)


def _check_contents(destination: Path, kind: OutputKind, *, force: bool) -> None:
    if not (destination / kind.marker).is_file():
        raise OutputError(
            f"output exists and has no {kind.marker}, so qdeploy did not write it",
            where=destination,
            fix=f"{ELSEWHERE}, or empty this one yourself",
        )
    if not force:
        raise OutputError("output exists", where=destination, fix="--force replaces it")
    if others := sorted(listing.visible(destination) - {kind.marker, *kind.contents(destination)}):
        raise OutputError(
            f"output exists and has {others[0]!r}, which qdeploy did not write",
            where=destination,
            fix=f"{ELSEWHERE}, or move {others[0]!r} elsewhere",
        )


@contextlib.contextmanager
def atomic_directory(
    destination: Path, kind: OutputKind, *, force: bool, key: str | None = None
) -> Iterator[Path]:
    """Yield a directory that becomes *destination* when the block ends without an error.

    The directory is empty, or what an earlier run of the same *key* left. After an error,
    *destination* is unchanged, and the directory is deleted unless it can be resumed: it has a key
    and holds `SCRATCH`. Other stale work directories are deleted first.

    A key consists of letters and digits; equal keys must give equal outputs.

    Raises:
        OutputError: `check_output` refuses *destination*, at the start or at the end, or it cannot
            be written.
        ExportFailed: the disk is full.
    """
    check_output(destination, kind, force=force)
    destination = destination.absolute()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        work = (key and workdir.resume(destination, key)) or workdir.begin(destination, key)
        workdir.sweep(destination)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})",
            where=destination.parent,
            fix=ELSEWHERE,
        ) from None
    try:
        yield work.files
        _finish(work, destination, kind, force=force)
    except OSError as error:
        if error.errno in _FULL:
            raise ExportFailed(
                "the disk is full", where=destination.parent, fix=f"free space, or {ELSEWHERE}"
            ) from None
        raise
    finally:
        if key and (work.files / SCRATCH).is_dir():
            work.release()
        else:
            work.remove()


def _finish(work: WorkDir, destination: Path, kind: OutputKind, *, force: bool) -> None:
    _sync(work.files)
    check_output(destination, kind, force=force)  # again: it may exist now
    shutil.rmtree(work.files / SCRATCH, ignore_errors=True)
    try:
        if force and os.path.lexists(destination):
            moves.replace(work.files, destination, work.old)
        else:
            moves.place(work.files, destination)
    except OSError as error:
        check_output(destination, kind, force=force)
        if error.errno in _FULL:
            raise
        raise OutputError(
            f"it cannot be written ({error.strerror})", where=destination, fix=ELSEWHERE
        ) from None


def _sync(folder: Path) -> None:
    """Flush every file, so that the data is on the disk before the rename is."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(Path(root) / name, "rb+") as file:
                os.fsync(file.fileno())
