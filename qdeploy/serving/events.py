"""Server-sent events, as OpenAI's API streams them."""

from __future__ import annotations

import json
from typing import Any

DONE = b"data: [DONE]\n\n"
"""The end of a stream that is whole."""


def event(content: dict[str, Any]) -> bytes:
    """One event. All characters are ASCII: some clients take U+2028 for the end of a line."""
    return f"data: {json.dumps(content)}\n\n".encode()
