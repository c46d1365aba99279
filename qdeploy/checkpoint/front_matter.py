"""The metadata for the hub at the beginning of a model card."""

from __future__ import annotations

import re
from pathlib import Path

CARD = "README.md"
"""The model card: for people, and with metadata for the hub at its beginning."""
LONGEST = 100_000
"""Characters of a card that are read."""
_ENTRY = re.compile(r"(?P<key>\w+):\s*(?P<quote>['\"]?)(?P<value>[^\s'\"#]+)(?P=quote)\s*(#.*)?")


def read_front_matter(folder: Path) -> dict[str, str]:
    """Return the plain entries of the card in *folder*, by key; empty where it has none."""
    try:
        with (folder / CARD).open(encoding="utf-8") as file:
            lines = file.read(LONGEST).splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            return found
        if entry := _ENTRY.fullmatch(line):
            found[entry["key"]] = entry["value"]
    return {}
