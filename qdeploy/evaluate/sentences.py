"""Sentences of a text: what embedding and reranking models are evaluated on."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from qdeploy.errors import InputError
from qdeploy.evaluate.text import read_bytes, spread_evenly

END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
"""Where a sentence ends, in English and in Chinese."""
DOCUMENTS, QUERIES = 32, 8


@dataclass(frozen=True)
class Sentences:
    """Sentences of one text, of which some are queries too.

    Attributes:
        sha256: of the text's bytes, in hex.
        queries: places of the queries among the sentences.
    """

    name: str
    sha256: str
    documents: tuple[str, ...]
    queries: tuple[int, ...]

    def as_dict(self) -> dict[str, str | int]:
        """The text as written to results."""
        return {
            "name": self.name, "sha256": self.sha256,
            "documents": len(self.documents), "queries": len(self.queries),
        }  # fmt: skip


def read_sentences(name: str, *, documents: int | None = None) -> Sentences:
    """Split a shipped text, or the file of that name, into sentences.

    *documents* is the most of them, spread evenly over the text; None is `DOCUMENTS`.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has fewer than three sentences.
    """
    raw = read_bytes(name)
    try:
        found = [s.strip() for s in END.split(raw.decode()) if s.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason})", where=name) from None
    chosen = spread_evenly(list(dict.fromkeys(found)), documents or DOCUMENTS)
    if len(chosen) < 3:
        raise InputError(
            f"{len(chosen)} sentences; the order of others is compared for each",
            where=name,
            fix="give a text of more sentences, or larger --windows",
        )
    queries = tuple(spread_evenly(range(len(chosen)), QUERIES))
    digest = hashlib.sha256(raw).hexdigest()
    return Sentences(Path(name).name, digest, tuple(chosen), queries)
