"""Work directories: hidden siblings of an output, each locked by the run that writes to it.

    .OUTPUT.partial-<8 hex digits>[-<key of the work>]/
        lock      a file lock, held by the run
        files/    what becomes the output
        old/      the output that is being replaced, where the system cannot swap two directories

The lock ends with the process, however that ends, and every process of the machine sees it, also
from another container; a process id gives neither. An unlocked work directory is therefore stale:
a run of the same key resumes it, any other run deletes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

SCRATCH = ".work"
"""A directory that an exporter may keep in its output while it works. It is deleted before the
output appears, and marks work that can be resumed."""
LOCK, FILES, OLD = "lock", "files", "old"
_NAME = re.compile(r"\.(.+)\.partial-\w+?(?:-(\w+))?")
_ATTEMPTS = 4


@dataclass
class WorkDir:
    """A work directory that this process has locked.

    Attributes:
        path: the hidden directory.
        lock: None where the file system has no locks: other runs then leave the directory alone.
    """

    path: Path
    lock: BaseFileLock | None

    @property
    def files(self) -> Path:
        """The directory that becomes the output."""
        return self.path / FILES

    @property
    def old(self) -> Path:
        """Where the output that is being replaced may be moved."""
        return self.path / OLD

    def settle(self, output: Path) -> None:
        """Finish what a killed run began: the old output returns if no new one is in place."""
        if os.path.lexists(self.old) and not os.path.lexists(output):
            self.old.rename(output)

    def release(self) -> None:
        """Unlock the directory and leave it to be resumed."""
        if self.lock is not None:
            self.lock.release()

    def remove(self, *, strict: bool = False) -> None:
        """Delete the directory, as far as possible unless *strict*, and unlock it."""
        try:
            for path in (self.files, self.old):  # a kill from here on leaves nothing to resume
                with contextlib.suppress(OSError):
                    path.rename(path.with_name(f"{path.name}.deleted"))
            if strict:
                for path in self.path.glob("*.deleted"):
                    shutil.rmtree(path)
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            self.release()
            with contextlib.suppress(OSError):  # Windows deletes the lock file once it is closed
                self.path.rmdir()


def begin(output: Path, key: str | None = None) -> WorkDir:
    """Create and lock a work directory for *output*.

    A *key* names the work: letters and digits. OSError: the directory cannot be created.
    """
    for attempt in range(_ATTEMPTS):
        suffix = f"-{key}" if key else ""
        path = output.with_name(f".{output.name}.partial-{secrets.token_hex(4)}{suffix}")
        path.mkdir(mode=0o700)
        lock = try_lock(path)
        if lock or attempt == _ATTEMPTS - 1:  # else another run took it to be stale
            work = WorkDir(path, lock)
            work.files.mkdir()
            return work
        shutil.rmtree(path, ignore_errors=True)
    raise AssertionError


def resume(output: Path, key: str) -> WorkDir | None:
    """Lock a stale work directory of this key that holds `SCRATCH`, if there is one."""
    for path, found in _beside(output):
        if found == key and (work := _take(path, output)):
            if (work.files / SCRATCH).is_dir():
                return work
            work.remove()
    return None


def settle(output: Path) -> None:
    """Return an output that a killed run moved aside and did not replace."""
    for path, _ in _beside(output):
        if os.path.lexists(path / OLD) and (work := _take(path, output)):
            work.release()


def sweep(output: Path) -> None:
    """Delete the stale work directories of *output*."""
    for path, _ in _beside(output):
        if work := _take(path, output):
            work.remove()


def stale(directory: Path) -> list[Path]:
    """The stale work directories in *directory*, of any output."""
    found = []
    for path in _hidden(directory):
        if lock := try_lock(path):
            lock.release()
            found.append(path)
    return found


def is_locked(path: Path) -> bool:
    """Whether a run holds the lock of this directory; False for one that was never locked."""
    if not (path / LOCK).exists():
        return False
    if lock := try_lock(path):
        lock.release()
    return lock is None


def remove(path: Path) -> None:
    """Delete a directory so that it disappears whole. One that has a lock must be unlocked.

    Raises:
        BlockingIOError: a run works in it.
        OSError: it cannot be deleted.
    """
    if match := _NAME.fullmatch(path.name):
        work = _take(path, path.with_name(match[1]))
        if work is None:
            raise BlockingIOError
    elif is_locked(path):
        raise BlockingIOError
    else:
        work = begin(path)
        try:
            work.files.rmdir()
            path.rename(work.files)
        except OSError:
            work.remove()
            raise
    work.remove(strict=True)


@contextlib.contextmanager
def scratch(name: Path) -> Iterator[Path]:
    """Yield an empty directory, hidden beside *name*, that is deleted at the end.

    The stale ones of the same name are deleted first. OSError: it cannot be created.
    """
    name.parent.mkdir(parents=True, exist_ok=True)
    sweep(name)
    work = begin(name)
    try:
        yield work.files
    finally:
        work.remove()


def _hidden(directory: Path) -> list[Path]:
    """The work directories in *directory*."""
    return [p for p in sorted(directory.glob(".*")) if _NAME.fullmatch(p.name) and p.is_dir()]


def _beside(output: Path) -> list[tuple[Path, str | None]]:
    """The work directories of *output*, each with its key."""
    named = ((path, _NAME.fullmatch(path.name)) for path in _hidden(output.parent))
    return [(path, match[2]) for path, match in named if match and match[1] == output.name]


def _take(path: Path, output: Path) -> WorkDir | None:
    """Lock a stale work directory and settle it; None if a run works in it, or it is gone."""
    lock = try_lock(path)
    if lock is None:
        return None
    work = WorkDir(path, lock)
    try:
        work.settle(output)
    except OSError:
        work.release()
        return None
    return work


def try_lock(path: Path) -> BaseFileLock | None:
    """Lock a directory; None if another process has, it is gone, or there are no locks.

    The lock is held until it is released or the process ends. Its file stays in the directory.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError, NotImplementedError):
        return None
    return lock
