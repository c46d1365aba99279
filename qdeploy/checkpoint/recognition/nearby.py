"""Folders that a path may have meant which does not exist."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

MOST_FOLDERS = 8
"""Folders that an error lists."""


def near_folder(path: Path) -> Path | None:
    """The existing folder whose path differs from *path* in one name, and little; or None."""
    above, missing = _split(path)
    near = difflib.get_close_matches(missing, _folders(above), n=1, cutoff=0.5)
    return above / near[0] if near else None


def find_fix(path: Path) -> str:
    """What to give in place of the *path* of a folder that does not exist."""
    if near := near_folder(path):
        return f"did you mean {os.fspath(near)!r}?"
    above, _ = _split(path)
    inside = _folders(above)
    listed = ", ".join(inside[:MOST_FOLDERS]) + (", ..." if len(inside) > MOST_FOLDERS else "")
    return f"check the path: {os.path.abspath(above)} holds {listed or 'no folder'}"


def _split(path: Path) -> tuple[Path, str]:
    """The nearest folder above *path* that exists, and the name that it does not have."""
    for above in (path, *path.parents):
        if os.path.isdir(above):
            return above, "".join(path.relative_to(above).parts[:1])
    return Path(), path.parts[0]


def _folders(above: Path) -> list[str]:
    """Names of the visible folders in a folder, in order."""
    try:
        return sorted(e.name for e in os.scandir(above) if e.is_dir() and e.name[0] != ".")
    except OSError:
        return []
