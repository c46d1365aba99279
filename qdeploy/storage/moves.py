"""A finished folder moved to its destination by a rename.

Where a folder is replaced, Linux swaps the two in one step; elsewhere the old one steps aside
first, and is put back by the next run should this one die between the steps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path

from qdeploy.storage.workdir import OLD, beside, new_name

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def place(folder: Path, destination: Path) -> None:
    """Move *folder* to where nothing is, or an empty folder.

    Raises:
        OSError: something else is there, which is untouched, or it cannot be moved.
    """
    with contextlib.suppress(OSError):  # Windows renames to no folder, not even an empty one
        destination.rmdir()
    folder.rename(destination)


def replace(folder: Path, destination: Path) -> None:
    """Move *folder* to where another one is, and remove that. OSError: it cannot be moved."""
    if _exchange(folder, destination):
        shutil.rmtree(folder, ignore_errors=True)
        return
    old = new_name(destination, OLD)
    destination.rename(old)
    folder.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def settle(destination: Path) -> None:
    """Finish what a run began that died between its two renames, or before it removed the old."""
    for old in beside(destination, OLD):
        if os.path.lexists(destination):
            shutil.rmtree(old.path, ignore_errors=True)
        else:
            old.path.rename(destination)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    failed = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return not failed
