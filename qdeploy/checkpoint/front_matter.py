"""The metadata for the hub at the beginning of a model card."""

from __future__ import annotations

import re
from pathlib import Path

CARD = "README.md"
"""The model card: for people, and with metadata for the hub at its beginning."""
LONGEST = 100_000
"""Characters of a card that are read."""
_ENTRY = re.compile(r"(?P<key>\w+):\s*(?P<quote>['\"]?)(?P<value>[^\s'\"#]+)(?P=quote)\s*(#.*)?")
_BASE = re.compile(r"^base_model:\s*(?:\n\s*-\s*)?[\"']?([\w.-]+/[\w.-]+)", re.MULTILINE)
"""The hub id of the model that this one was made from, or the first of several."""


def read_front_matter(folder: Path) -> dict[str, str]:
    """Return the plain entries of the card in *folder*, by key; empty where it has none."""
    entries = (_ENTRY.fullmatch(line) for line in _lines(folder))
    return {entry["key"]: entry["value"] for entry in entries if entry}


def read_base_model(folder: Path) -> str | None:
    """Return the hub id of the model that *folder*'s was made from, if its card says it."""
    found = _BASE.search("\n".join(_lines(folder)))
    return found[1] if found else None


def _lines(folder: Path) -> list[str]:
    """The lines between the two that mark the metadata; none where one of these is missing."""
    try:
        with (folder / CARD).open(encoding="utf-8") as file:
            lines = [line.rstrip() for line in file.read(LONGEST).splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return []
    return lines[1 : lines.index("---", 1)]
