"""A file or a folder that appears whole or not at all.

The work happens in a hidden sibling of the destination, on the same file system, and moves there
by one rename. Where a folder is replaced, Linux swaps the two in one step; elsewhere the old
folder steps aside first, and is put back by the next run should this one die between the steps.

Long work may name itself by a key. What a run of the same key left behind when it was killed or ran
out of disk is then not removed but taken over: renaming it to one's own process id is the claim,
and of two that try, one succeeds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from qdeploy.errors import ExportFailed, OutputError
from qdeploy.interface import SCRATCH

_PARTIAL, _OLD = "partial", "old"
_NOBODY = 0
"""Stands for the process id of a run that ended by itself and left its folder to the next."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, in place of what stands there.

    Raises:
        OSError: it cannot be written; what stood there still does.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        with contextlib.suppress(OSError):  # most often it is not there any more
            fresh.unlink()


def check_output(destination: Path, *, force: bool, marker: str) -> None:
    """Refuse a destination that exists, unless *force* is given and it holds *marker*.

    Raises:
        OutputError: with what stands there and how to go on.
    """
    _put_back(destination)
    if not os.path.lexists(destination):
        return
    if not destination.is_dir() or destination.is_symlink():
        raise OutputError("output exists and is not a directory", where=destination)
    if not any(destination.iterdir()):
        return
    if not (destination / marker).is_file():
        raise OutputError(
            f"output exists and has no {marker}, so qdeploy did not write it",
            where=destination,
            fix="choose another -o DIR, or empty this one yourself",
        )
    if not force:
        raise OutputError("output exists", where=destination, fix="--force replaces it")


@contextlib.contextmanager
def appearing(destination: Path, *, key: str | None = None) -> Iterator[Path]:
    """Yield a folder that becomes *destination* when the block ends without an error.

    The folder is empty, or what an earlier run of the same *key* left. On any error whatever stood
    at *destination* is untouched, and the folder is removed: unless there is a key and the folder
    holds `SCRATCH`, which makes it worth keeping. Other leftovers of dead runs are removed first.
    A key is of letters and digits; equal keys promise equal results.

    Raises:
        OutputError: the parent folder cannot be written.
        ExportFailed: the disk is full.
    """
    destination = destination.absolute()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _claiming:
            partial = (key and _take_over(destination, key)) or _begin(destination, key)
            _ours.add(partial)
            _sweep(destination)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})", where=destination.parent
        ) from None
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        _sync(partial)
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
        _move(partial, destination)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ExportFailed(
                "the disk is full", where=destination.parent, fix="free space, or another -o DIR"
            ) from None
        raise
    finally:
        _ours.discard(partial)
        if key and (partial / SCRATCH).is_dir():
            _leave(destination, partial, key)
        else:
            shutil.rmtree(partial, ignore_errors=True)


_ours: set[Path] = set()
"""Folders that this very process works in."""
_claiming = threading.Lock()
"""Held from the making of a folder until it is in `_ours`, lest another thread sweep it away."""


def _begin(destination: Path, key: str | None) -> Path:
    prefix = f"{_prefix(destination, _PARTIAL)}{os.getpid()}-"
    suffix = f"-{key}" if key else None
    return Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=destination.parent))


def _take_over(destination: Path, key: str) -> Path | None:
    """Claim what a dead run of this key left, if there is any."""
    for left in _beside(destination, _PARTIAL):
        if left.name.endswith(f"-{key}") and not _in_use(left, _PARTIAL, destination):
            claimed = left.with_name(f"{_prefix(destination, _PARTIAL)}{os.getpid()}-{key}")
            with contextlib.suppress(OSError):  # another run was first
                left.rename(claimed)
                return claimed
    return None


def _leave(destination: Path, partial: Path, key: str) -> None:
    with contextlib.suppress(OSError):  # one of this key lies there already
        partial.rename(partial.with_name(f"{_prefix(destination, _PARTIAL)}{_NOBODY}-{key}"))


def _prefix(destination: Path, kind: str) -> str:
    return f".{destination.name}.{kind}-"


def _beside(destination: Path, kind: str) -> list[Path]:
    return sorted(destination.parent.glob(f"{glob.escape(_prefix(destination, kind))}*"))


def _move(partial: Path, destination: Path) -> None:
    if not destination.exists():
        partial.rename(destination)
    elif not _exchange(partial, destination):
        old = destination.with_name(f"{_prefix(destination, _OLD)}{os.getpid()}")
        destination.rename(old)
        partial.rename(destination)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    failed = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return not failed


def _put_back(destination: Path) -> None:
    """Finish what a run that died between its two renames began."""
    if not os.path.exists(destination):
        for old in _beside(destination, _OLD):
            old.rename(destination)
            return


def _sweep(destination: Path) -> None:
    """Remove the folders of runs that are no longer alive."""
    _put_back(destination)
    for kind in (_PARTIAL, _OLD):
        for left in _beside(destination, kind):
            if not _in_use(left, kind, destination):
                shutil.rmtree(left, ignore_errors=True)


def _in_use(folder: Path, kind: str, destination: Path) -> bool:
    """Whether the run that a folder is named after is alive. A name of another form is not ours."""
    pid = folder.name.removeprefix(_prefix(destination, kind)).split("-")[0]
    if not pid.isdigit():
        return True
    if int(pid) == os.getpid():  # or of one that had this id before, as in a restarted container
        return folder in _ours
    return int(pid) != _NOBODY and _alive(int(pid))


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(folder: Path) -> None:
    """Flush every file, so that the rename never reaches the disk before the data."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(Path(root) / name, "rb+") as file:
                os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
