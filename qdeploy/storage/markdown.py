"""Markdown for GitHub and the hub, in which names and texts of others stay text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&@$])")
"""Characters that GitHub's Markdown may read as markup, a mention or a formula."""
NOT_IN_CODE = re.compile(r"[^\w.-]")


def escaped(text: str) -> str:
    """Escape text, and put it on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text for a code span, where nothing can be escaped: unusual characters become `?`."""
    return NOT_IN_CODE.sub("?", text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Render a table of cells that are Markdown already; numeric columns are aligned right."""
    rules = ["--:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])
