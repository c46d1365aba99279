"""A finished directory is moved to its output path by a rename.

Linux swaps it with an output that it replaces in one step. Elsewhere the old output is moved aside
first; `workdir.settle` returns it if the process dies before the second rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def place(folder: Path, output: Path) -> None:
    """Move *folder* to a path where nothing is, or an empty directory.

    Raises:
        OSError: something else is there, which is untouched, or it cannot be moved.
    """
    with contextlib.suppress(OSError):  # Windows renames to no directory, not even an empty one
        output.rmdir()
    folder.rename(output)


def replace(folder: Path, output: Path, aside: Path) -> None:
    """Move *folder* to *output*, which exists, and that to *folder* or *aside*.

    Raises:
        OSError: it cannot be moved; *output* is untouched.
    """
    if _exchange(folder, output):
        return
    output.rename(aside)
    try:
        folder.rename(output)
    except OSError:
        aside.rename(output)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    failed = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return not failed
