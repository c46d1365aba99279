"""A tool call in tags, as Qwen3-Coder writes it:

    <function=add>
    <parameter=a>
    1
    </parameter>
    </function>

Values carry no types; those of the function's JSON Schema decide, as in Qwen's own parser. A value
is told when it is whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from qdeploy.generation.reading.calls import Arguments, Body

FUNCTION = re.compile(r"\s*<function=([^>\n]+)>")
PARAMETER = re.compile(
    r"\s*<parameter=([^>\n]+)>(.*?)</parameter>(?=\s*<(?:parameter=|/function>))", re.DOTALL
)
UNENDED = re.compile(r"\s*<parameter=([^>\n]+)>(.*?)(?:</parameter>)?\s*", re.DOTALL)
END = re.compile(r"\s*</function>")

Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON Schema of each function's arguments, by its name."""


class XmlBody(Body):
    """Reads parameter after parameter."""

    def __init__(self, schemas: Schemas) -> None:
        super().__init__()
        self._schemas = schemas
        self._text = ""  # what is not told yet
        self._told = 0  # parameters

    @property
    def inside(self) -> bool:
        return self.name is not None and not self.whole

    def feed(self, text: str) -> str:
        if self.whole:
            self.rest += text
            return ""
        self._text += text
        if self.name is None:
            if (begin := FUNCTION.match(self._text)) is None:
                return ""
            self.name = begin[1].strip()
            self._text = self._text[begin.end() :]
        told = ""
        while found := PARAMETER.match(self._text):
            told += self._parameter(found)
        if end := END.match(self._text):
            self.whole, self.rest = True, self._text[end.end() :]
            told += self._closing
        return told

    def end(self) -> Arguments | None:
        if self.name is None:
            return None
        if self.whole:
            return Arguments("", self.name)
        if unended := UNENDED.fullmatch(self._text):
            return Arguments(self._parameter(unended) + self._closing, self.name)
        left = self._text.strip()
        return Arguments(left or self._closing, self.name)

    @property
    def _closing(self) -> str:
        return "}" if self._told else "{}"

    def _parameter(self, found: re.Match[str]) -> str:
        """Return one more parameter of the arguments as JSON."""
        self._text = self._text[found.end() :]
        name, text = found[1].strip(), found[2].removeprefix("\n").removesuffix("\n")
        schema = self._schemas.get(self.name or "", {}).get("properties")
        described = schema.get(name) if isinstance(schema, Mapping) else None
        before = ", " if self._told else "{"
        self._told += 1
        value = _value(text, _types(described))
        return f"{before}{_json(name)}: {_json(value)}"


def _types(schema: Any) -> frozenset[str]:
    """Return the JSON types that a schema allows; none where it does not say."""
    if not isinstance(schema, Mapping):
        return frozenset()
    own = schema.get("type", [])
    found = [own] if isinstance(own, str) else own if isinstance(own, list) else []
    found = [*filter(lambda name: isinstance(name, str), found)]
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        for option in options if isinstance(options, list) else ():
            found.extend(_types(option))
    return frozenset(found)


def _value(text: str, types: frozenset[str]) -> Any:
    """Return the value that *text* stands for. What is none of its types stays text."""
    if text == "null" and "null" in types:
        return None
    if not types or "string" in types:
        return text
    if types == {"boolean"}:
        text = text.lower()  # True, as in Python
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
