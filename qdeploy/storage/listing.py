"""What a folder of qdeploy's holds, told apart from what others put there."""

from __future__ import annotations

import os
from pathlib import Path


def visible(folder: Path) -> set[str]:
    """POSIX paths, from *folder* on, of what it holds: files, and links whatever they lead to.

    What is hidden, and all below it, is left out: the system's own litter.
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
