"""What an interrupted export leaves for the next run: how far it had come, never more than true."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Journal:
    """A count of finished steps in a file.

    Steps are those of one fixed sequence, named by its *fingerprint*; a journal of another
    sequence counts for nothing. The count is replaced in one rename, and only after what it
    counts is on the disk, so that neither a kill nor a power cut can make it promise too much.
    """

    def __init__(self, file: Path, fingerprint: str) -> None:
        self._file, self._fingerprint = file, fingerprint

    def done(self) -> int:
        """Steps that need not be done again."""
        try:
            content = json.loads(self._file.read_bytes())
            return int(content["done"]) if content["fingerprint"] == self._fingerprint else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def record(self, done: int) -> None:
        """Note that so many steps are finished and on the disk."""
        self._file.parent.mkdir(exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"fingerprint": self._fingerprint, "done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
