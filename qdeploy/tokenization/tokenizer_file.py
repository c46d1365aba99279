"""The parts of `tokenizer.json` that the core and the exporters read alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOKENIZER_FILE = "tokenizer.json"


def added_token_ids(content: Mapping[str, Any]) -> dict[str, int]:
    """Return the id of every token that the file adds to its model's own, by the token's text."""
    return {token["content"]: token["id"] for token in content.get("added_tokens", [])}
