"""Folders that a run works in: hidden beside what they are for, and its own while it lives.

A run holds a lock on its folder. The lock ends with the process, however that ends, and the whole
machine sees it, other containers too; of process ids neither is true. So whoever can take the lock
finds a folder of the dead, to be gone on with or removed.

Where a system has no locks on folders, as Windows, one counts as in use until its run has left it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRATCH = ".work"
"""A folder that an exporter may keep inside the bundle's while it works: gone when it appears."""
PARTIAL, LEFT, OLD = "partial", "left", "old"
"""In work, or of a run that was killed; left by its run to the next; replaced (see `moves`)."""
_NAME = re.compile(rf"\.(.+)\.({PARTIAL}|{LEFT}|{OLD})-\w+?(?:-(\w+))?")


@dataclass(frozen=True)
class Hidden:
    """A folder that a run made: for which destination, of which kind, and the key of its work."""

    path: Path
    destination: Path
    kind: str
    key: str | None


class Claim:
    """A folder that is this run's alone until it is released."""

    def __init__(self, folder: Path, lock: int | None) -> None:
        self.folder, self._lock = folder, lock

    def release(self) -> None:
        """Give up the folder. Calling it twice is harmless."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove the folder as far as that is possible, and give it up."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()


def new_name(destination: Path, kind: str, key: str | None = None) -> Path:
    """A name that nothing has yet. *key* is of letters and digits."""
    suffix = f"-{key}" if key else ""
    return destination.with_name(f".{destination.name}.{kind}-{secrets.token_hex(4)}{suffix}")


def hidden(folder: Path) -> list[Hidden]:
    """Every folder in *folder* that has such a name."""
    found = ((path, _NAME.fullmatch(path.name)) for path in sorted(folder.glob(".*")))
    return [Hidden(path, path.with_name(m[1]), m[2], m[3]) for path, m in found if m]


def beside(destination: Path, *kinds: str) -> list[Hidden]:
    """Those of these kinds that are for *destination*."""
    found = hidden(destination.parent)
    return [one for one in found if one.destination == destination and one.kind in kinds]


def begin(destination: Path, key: str | None = None) -> Claim:
    """Make an empty folder for what will be *destination*. OSError: it cannot be made."""
    while True:
        folder = new_name(destination, PARTIAL, key)
        folder.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # it looked dead until locked
            return Claim(folder, _lock(folder))


def take_over(destination: Path, key: str) -> Claim | None:
    """Claim what a dead run of this key left with `SCRATCH` in it, if there is any."""
    for one in beside(destination, PARTIAL, LEFT):
        if one.key == key:
            with contextlib.suppress(OSError):  # it lives, or another was first
                claim = _take(one.path, new_name(destination, PARTIAL, key), one.kind)
                if (claim.folder / SCRATCH).is_dir():
                    return claim
                claim.remove()  # an old output, for one, that a run has just replaced
    return None


def leave(claim: Claim, destination: Path, key: str) -> None:
    """Give up a folder as one that a run of the same key can go on with."""
    with contextlib.suppress(OSError):
        claim.folder.rename(new_name(destination, LEFT, key))
    claim.release()


def sweep(destination: Path) -> None:
    """Remove what dead runs left that worked for *destination*."""
    for one in beside(destination, PARTIAL, LEFT):
        with contextlib.suppress(OSError):
            _take(one.path, new_name(destination, PARTIAL), one.kind).remove()


def dead(folder: Path) -> list[Path]:
    """What dead runs left in *folder*, whatever they worked for."""
    found = []
    for one in hidden(folder):
        with contextlib.suppress(OSError):
            lock = _lock(one.path)
            if lock is not None:
                os.close(lock)
            if lock is not None or one.kind != PARTIAL:
                found.append(one.path)
    return found


def remove(folder: Path) -> None:
    """Remove a folder so that it disappears at once and whole.

    Raises:
        BlockingIOError: a run works in it.
        OSError: it cannot be removed.
    """
    match = _NAME.fullmatch(folder.name)
    destination = folder.with_name(match[1]) if match else folder
    claim = _take(folder, new_name(destination, PARTIAL), match[2] if match else None)
    try:
        shutil.rmtree(claim.folder)
    finally:
        claim.release()


@contextlib.contextmanager
def scratch(name: Path) -> Iterator[Path]:
    """Yield an empty folder, hidden beside *name*, that is removed at the end.

    So are those that killed runs had under the same name. OSError: it cannot be made.
    """
    name.parent.mkdir(parents=True, exist_ok=True)
    sweep(name)
    claim = begin(name)
    try:
        yield claim.folder
    finally:
        claim.remove()


def _take(folder: Path, fresh: Path, kind: str | None) -> Claim:
    """Make a folder one's own, under a new name: of two that try, one succeeds.

    Raises:
        BlockingIOError: a run works in it, or may do so.
        OSError: another was first, or the folder cannot be renamed.
    """
    lock = _lock(folder)
    try:
        if lock is None and kind == PARTIAL:
            raise BlockingIOError
        folder.rename(fresh)
    except OSError:
        if lock is not None:
            os.close(lock)
        raise
    return Claim(fresh, lock)


if sys.platform == "win32":

    def _lock(folder: Path) -> int | None:
        return None

else:
    import fcntl

    def _lock(folder: Path) -> int | None:
        """Lock a folder: a descriptor to be closed, or None where the system cannot.

        Raises:
            BlockingIOError: another has locked it.
            OSError: it is not there any more, or may not be read.
        """
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = os.path.samestat(os.fstat(descriptor), folder.stat())
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            raise
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        if not here:  # renamed or replaced since it was opened
            os.close(descriptor)
            raise FileNotFoundError(folder)
        return descriptor
