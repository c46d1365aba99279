"""Folders of the cache that calibration works in, one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdeploy.calibration.report import Report
from qdeploy.errors import ExportFailed
from qdeploy.storage.cache_root import ENVIRONMENT
from qdeploy.storage.workdir import LOCK

DISK = f"free space, or set {ENVIRONMENT} to a folder on a larger disk"


@contextmanager
def locked(folder: Path, report: Report) -> Iterator[None]:
    """Make a folder if need be, and hold its lock; another process that does is waited for.

    Raises:
        ExportFailed: it cannot be written, or an OSError ended the block.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            report.stage("waiting for another process that calibrates the same model")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        said = f"calibration could not write ({error.strerror})"
        raise ExportFailed(said, where=folder, fix=DISK) from None
