"""Ids of the Hugging Face hub, and the folders of its cache by their names.

hub/models--ORGANIZATION--NAME/
    blobs/          the content of files
    refs/main       the commit that `main` was, in hex
    snapshots/COMMIT/   links to blobs under the names of the files
"""

from __future__ import annotations

import os
import re
from pathlib import Path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""A model of the hub: ORGANIZATION/NAME."""
NAME = re.compile(r"models--(?P<org>[A-Za-z0-9](?:-?[\w.])*)--(?P<name>[A-Za-z0-9][\w.-]*)")
"""Name of the folder of a model."""


def hub_id_of(folder_name: str) -> str | None:
    """The hub id of the model whose folder in the cache has this name, or None."""
    match = NAME.fullmatch(folder_name)
    return f"{match['org']}/{match['name']}" if match else None


def snapshot_id(folder: Path) -> str | None:
    """The hub id of the model that *folder* is a snapshot of, or None."""
    place = Path(os.path.abspath(folder))
    return hub_id_of(place.parent.parent.name) if place.parent.name == "snapshots" else None


def blobs_of(snapshot: Path) -> Path | None:
    """The folder that the links of a snapshot lead into, or None where *snapshot* is none.

    Both without links.
    """
    place = Path(os.path.realpath(snapshot))
    return place.parent.parent / "blobs" if snapshot_id(place) else None


def main_snapshot(folder: Path) -> Path | None:
    """The snapshot of the main revision of a model's folder, else another one, or None."""
    try:
        main = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        main = ""
    found = {p.name: p for p in sorted((folder / "snapshots").glob("*")) if p.is_dir()}
    return found.get(main) or next(iter(found.values()), None)
