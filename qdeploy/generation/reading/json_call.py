"""A tool call in JSON, as Hermes and Qwen write it: `{"name": "add", "arguments": {"a": 1}}`."""

from __future__ import annotations

import json
import re
from typing import Any

from qdeploy.generation.reading.calls import Arguments, Body

USUAL = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*\{')
"""How a call begins whose arguments are told as they come. Any other is told at its end."""


class JsonBody(Body):
    """Follows strings and brackets only: whether it is JSON shows at the end.

    Line breaks and other control characters in strings, which JSON does not allow and models
    write, are escaped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._depth = 0
        self._in_string = self._escaped = False
        self._telling = False
        self._last = ""  # the last bracket of the arguments, until the call is whole

    @property
    def inside(self) -> bool:
        return self._in_string

    @property
    def sound(self) -> bool:
        return isinstance(_parsed(self._text), dict)

    def feed(self, text: str) -> str:
        told = ""
        for place, character in enumerate(text):
            if self.whole:
                self.rest += text[place:]
                break
            told += self._step(character)
        return told

    def end(self) -> Arguments | None:
        if self._telling:  # where only the last brace of the call is missing, they are whole
            return Arguments("" if self.whole else self._last, self.name)
        call = _parsed(self._text)
        if not isinstance(call, dict) or not isinstance(name := call.get("name"), str) or not name:
            return None
        return Arguments(_arguments(call.get("arguments")), name)

    def _step(self, character: str) -> str:
        """Read one character, and return what it adds to the arguments."""
        if self._in_string:
            if character < " ":
                character = json.dumps(character)[1:-1]
            elif character == '"' and not self._escaped:
                self._in_string = False
            self._escaped = character == "\\" and not self._escaped
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.whole = self._depth <= 0
        self._text += character
        if not self._telling:
            return self._begin(character)
        if self.whole:
            return self._last
        if self._last:  # between the arguments' end and the call's
            return ""
        if self._depth == 1 and not self._in_string and character in "}]":
            self._last = character
            return ""
        return character

    def _begin(self, character: str) -> str:
        """Begin to tell the arguments, where they begin at this character."""
        if character != "{" or self._depth != 2 or self._in_string:
            return ""
        usual = USUAL.fullmatch(self._text)
        if usual is None:
            return ""
        try:
            self.name = json.loads(usual[1], strict=False)
        except ValueError:  # an escape that JSON does not have
            return ""
        self._telling = True
        return character


def _parsed(text: str) -> Any:
    """Return the value of JSON text, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _arguments(value: Any) -> str:
    """Return arguments as JSON text. Some models write that text as a string of the call."""
    if value is None:
        return "{}"
    if isinstance(value, str) and isinstance(_parsed(value), dict):
        return value
    return json.dumps(value, ensure_ascii=False)
