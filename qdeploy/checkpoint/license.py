"""The license of a checkpoint, as the front matter of its model card says."""

from __future__ import annotations

import re
from pathlib import Path

from qdeploy.checkpoint.front_matter import read_front_matter

KEYS = ("license", "license_name", "license_link")
"""Keys of the hub's model cards. The first is one of the hub's identifiers."""
_IDENTIFIER = re.compile(r"[\w.+-]{1,80}")
_LINK = re.compile(r"https://[\w./%?&=+-]{1,200}")


def read_license(folder: Path) -> dict[str, str]:
    """Return those of `KEYS` that the card in *folder* has; empty where it says nothing plain."""
    entries = read_front_matter(folder)
    found = {key: entries[key] for key in KEYS if key in entries}
    fitting = {
        key: value
        for key, value in found.items()
        if (_LINK if key == "license_link" else _IDENTIFIER).fullmatch(value)
    }
    return fitting if "license" in fitting else {}
