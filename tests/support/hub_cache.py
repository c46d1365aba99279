"""A folder as the Hugging Face hub's library keeps it in its cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def snapshot(folder: Path, cache: Path, hub_id: str) -> Path:
    """Put the files of *folder* into a cache as the model *hub_id*, and return its snapshot."""
    model = cache / f"models--{hub_id.replace('/', '--')}"
    blobs, place = model / "blobs", model / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    for file in [p for p in folder.rglob("*") if p.is_file()]:
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copyfile(file, blob)
        link = place / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT, encoding="ascii")
    return place
