"""The bytes of one token, which may be a part of a character."""

from __future__ import annotations

import re
from functools import lru_cache

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A byte in a vocabulary of SentencePiece."""
SPACE = "\u2581"
"""A space in a vocabulary of SentencePiece."""


def token_bytes(token: str, *, bytewise: bool) -> bytes:
    """Return the bytes of a token.

    Args:
        token: as the vocabulary writes it.
        bytewise: whether each of its characters is a byte, as in GPT-2's vocabulary and Qwen's.
    """
    if bytewise:
        table = _bytes_of_characters()
        if all(character in table for character in token):
            return bytes(table[character] for character in token)
    elif found := BYTE.fullmatch(token):
        return bytes([int(found[1], 16)])
    return token.replace(SPACE, " ").encode(errors="replace")


@lru_cache(maxsize=1)
def _bytes_of_characters() -> dict[str, int]:
    """GPT-2's table: bytes that are printable stand for themselves, the others come after 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}
