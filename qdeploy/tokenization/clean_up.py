"""`clean_up_tokenization_spaces`: spaces before punctuation, removed as in transformers."""

from __future__ import annotations

import re

REPLACEMENTS = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
"""In the order of transformers' `clean_up_tokenization`; a later one may need an earlier one."""
SETTLED = re.compile(r"[^ ']{2}(?= )")
"""The end of a word of two characters and more, without apostrophes, that a space follows.

No replacement reaches across such a place, nor does a chain of replacements.
"""


def clean_up(text: str) -> str:
    """Remove the spaces."""
    for old, new in REPLACEMENTS:
        text = text.replace(old, new)
    return text


def split_settled(text: str) -> tuple[str, str]:
    """Split a text that goes on: what later text cannot change, and the rest."""
    end = max((place.end() for place in SETTLED.finditer(text)), default=0)
    return text[:end], text[end:]
