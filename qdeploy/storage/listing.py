"""The files of a directory, without those that the operating system hides there."""

from __future__ import annotations

import os
from pathlib import Path


def visible(folder: Path) -> set[str]:
    """Return the POSIX paths, relative to *folder*, of its files and links.

    Hidden files and directories are left out, such as `.DS_Store`.
    """
    found = set()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        found |= {
            (Path(root) / name).relative_to(folder).as_posix()
            for name in [*names, *links]
            if not name.startswith(".")
        }
    return found
