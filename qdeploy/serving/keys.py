"""API keys, from a file or the environment: arguments of a process are for everyone to see."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qdeploy.errors import InputError

ENVIRONMENT = "QDEPLOY_API_KEYS"
"""Keys with commas or line breaks between them."""
SHORTEST = 8
LARGEST_FILE = 2**20


def read(file: Path | None) -> tuple[str, ...]:
    """The keys in *file*, a key a line, or else those of the environment; there may be none.

    Empty lines and lines that begin with `#` hold no key.

    Raises:
        InputError: the file cannot be read or has no key, or a key cannot be sent in a header.
    """
    if file is None:
        where, text = ENVIRONMENT, os.environ.get(ENVIRONMENT, "").replace(",", "\n")
        if not text.strip():
            return ()
    else:
        where, text = str(file), _text(file)
    lines = (line.strip() for line in text.splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise InputError("there is no API key", where=where, fix="write a key a line")
    for number, key in enumerate(keys, 1):
        if len(key) < SHORTEST or not re.fullmatch(r"[!-~]+", key):
            raise InputError(
                f"key {number} cannot be used: a key has {SHORTEST} or more characters of ASCII, "
                "and no spaces",
                where=where,
                fix="make one: openssl rand -hex 32",
            )
    return keys


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST_FILE).decode()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=file,
                         fix="give a file with a key a line") from None  # fmt: skip
    except UnicodeDecodeError:
        raise InputError("is not text", where=file, fix="write a key a line") from None
