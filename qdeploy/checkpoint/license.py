"""The license of a checkpoint, as the front matter of its model card says."""

from __future__ import annotations

import re
from pathlib import Path

CARD = "README.md"
"""The model card: for people, and with metadata for the hub at its beginning."""
KEYS = ("license", "license_name", "license_link")
"""Keys of the hub's model cards. The first is one of the hub's identifiers."""
LONGEST_FRONT_MATTER = 100_000
"""Characters of a card that are read."""
_ENTRY = re.compile(r"(?P<key>\w+):\s*(?P<quote>['\"]?)(?P<value>[^\s'\"#]+)(?P=quote)\s*(#.*)?")
_IDENTIFIER = re.compile(r"[\w.+-]{1,80}")
_LINK = re.compile(r"https://[\w./%?&=+-]{1,200}")


def read_license(folder: Path) -> dict[str, str]:
    """Return those of `KEYS` that the card in *folder* has; empty where it says nothing plain."""
    try:
        with (folder / CARD).open(encoding="utf-8") as file:
            lines = file.read(LONGEST_FRONT_MATTER).splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            return found if "license" in found else {}
        entry = _ENTRY.fullmatch(line)
        if entry and entry["key"] in KEYS:
            form = _LINK if entry["key"] == "license_link" else _IDENTIFIER
            if form.fullmatch(entry["value"]):
                found[entry["key"]] = entry["value"]
    return {}
