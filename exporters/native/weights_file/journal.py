"""The journal of an export: how many steps are on the disk, for a later run to resume from."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Journal:
    """A count of finished steps in a file.

    The steps are those of one fixed sequence, identified by its *fingerprint*; a journal with
    another fingerprint is ignored. The file is replaced in one rename, and only after the steps it
    counts are on the disk, so a kill or a power cut never leaves a count that is too high.
    """

    def __init__(self, file: Path, fingerprint: str) -> None:
        self._file, self._fingerprint = file, fingerprint

    def done(self) -> int:
        """Number of steps that are finished."""
        try:
            content = json.loads(self._file.read_bytes())
            return int(content["done"]) if content["fingerprint"] == self._fingerprint else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def record(self, done: int) -> None:
        """Record that *done* steps are finished and on the disk."""
        self._file.parent.mkdir(exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"fingerprint": self._fingerprint, "done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
