"""Which JSON schemas openvino-genai keeps an answer to: the others are refused by name.

Its compiler (xgrammar, in 2026.4.1) ignores what it does not know, and is wrong about some of what
it knows, so that an answer breaks its schema without a word. What the tables below allow was right
in 40 answers each, drawn from all that were allowed. Left out, besides what it ignores (`not`,
`allOf`, `multipleOf`, ...):

- lengths of strings, which let raw control characters in and take up to a minute to compile;
- bounds of a number, and those of integers that are neither few nor from 0 or 1 up: 8006 passed as
  one of 8035 to 8914;
- patterns that match a quotation mark, a backslash or a control character: they are not escaped;
- `oneOf`, since two members may match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from qdeploy.errors import InputError

LONGEST, DEEPEST = 2**16, 32
"""Characters of a schema, and levels of it. The compiler is recursive and has no limits."""
MOST_INTEGERS = 1000
"""Of a range, which is spelled out as an enum."""
NOTES = frozenset({
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default",
    "examples", "deprecated", "readOnly", "writeOnly",
})  # fmt: skip
"""Keywords that allow and forbid nothing."""
BOUNDS: Mapping[str, int] = {
    "minimum": 0, "exclusiveMinimum": 1, "maximum": 0, "exclusiveMaximum": -1,
}  # fmt: skip
"""Keywords of integers, and what to add to get the bound that is allowed itself."""
BY_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"pattern", "format"}),
    "integer": frozenset(BOUNDS),
    "number": frozenset(),
    "boolean": frozenset(),
    "null": frozenset(),
}
ALONE = ("$ref", "const", "enum", "anyOf")
"""Keywords beside which the compiler ignores all others."""
PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
PATTERN = re.compile(
    r"(?:[A-Za-z0-9_ :@,=^$*+?(){}]|\\[dw.+*?/-]|\[(?!\^)(?:a-z|A-Z|0-9|\\[dw.-]|[\w.+ :@])+-?\]"
    r"|(?<!\[)-|\?:|(?<=[(\w)])\|(?=[^()]*\)))+"
)
"""Patterns of characters that JSON need not escape. Alternatives stand in parentheses."""


def check_schema(text: str, device: str) -> None:
    """Check that an answer will be kept to the JSON schema *text*.

    Raises:
        InputError: it is no schema, or has what the runtime would ignore or get wrong.
    """
    if len(text) > LONGEST:
        raise refused(f"it has {len(text)} characters, of at most {LONGEST}", device)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"it is not JSON ({error})", device) from None
    if reason := _reason(schema, "", 0):
        raise refused(reason, device)


def refused(reason: str, device: object) -> InputError:
    """Return the error of a request whose JSON schema is refused, here or by the runtime."""
    return InputError(
        f"the answer cannot be kept to this JSON schema: {reason}",
        where=device,
        fix="change that part of the schema, or leave the schema out",
    )


def spelled_out(text: str) -> str:
    """Return a schema that was checked, with ranges of integers as enums."""
    schema = json.loads(text)
    _spell_out(schema)
    return json.dumps(schema)


def _spell_out(schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    if (found := _range(schema)) is not None:
        for name in ("type", *BOUNDS):
            schema.pop(name, None)
        schema["enum"] = list(found)
    for _, part in _parts(schema):
        _spell_out(part)


def _range(schema: Mapping[str, Any]) -> range | None:
    """Return the integers of a schema that has both bounds."""
    if schema.get("type") != "integer":
        return None
    bounds = {name: schema[name] + more for name, more in BOUNDS.items() if name in schema}
    least = [value for name, value in bounds.items() if "inimum" in name]
    most = [value for name, value in bounds.items() if "aximum" in name]
    return range(max(least), min(most) + 1) if least and most else None


def _reason(schema: Any, where: str, depth: int) -> str | None:
    """Return why this part of a schema is refused, or None. *where* is its JSON pointer."""
    place = where or "/"
    if depth > DEEPEST:
        return f"it has more than {DEEPEST} levels"
    if schema is True:
        return None
    if not isinstance(schema, dict):
        return f"{place} is {json.dumps(schema)[:40]}, and not a schema"
    kinds = schema.get("type", [])
    types = kinds if isinstance(kinds, list) else [kinds]
    if unknown := [t for t in types if not isinstance(t, str) or t not in BY_TYPE]:
        return f"{place} has the type {json.dumps(unknown[0])}"
    if reason := _keywords(schema, types) or _values(schema, types):
        return f"{place} has {reason}"
    reasons = (_reason(part, f"{where}/{name}", depth + 1) for name, part in _parts(schema))
    return next(filter(None, reasons), None)


def _keywords(schema: Mapping[str, Any], types: list[str]) -> str | None:
    """Return a keyword that would be ignored."""
    alone = next((name for name in ALONE if name in schema), None)
    if alone is not None:
        known = {alone, "type"} if alone in ("const", "enum") else {alone}
        beside = f" beside {alone}"
    else:
        known = {"type", *(BY_TYPE[types[0]] if len(types) == 1 else ())}
        beside = "" if types else " without a type"
    more = sorted(schema.keys() - NOTES - known)
    return f"{more[0]}{beside}" if more else None


def _values(schema: Mapping[str, Any], types: list[str]) -> str | None:
    """Return what is wrong with the values of keywords."""
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list) or not values:
            return "an enum without values"
        if types and not all(_is_of(value, types) for value in values):
            return "a value that is not of its type"
    names = schema.get("properties", {}), schema.get("required", [])
    if not (isinstance(names[0], dict) and isinstance(names[1], list)):
        return "properties that are no object, or required that is no list"
    if missing := [name for name in names[1] if name not in list(names[0])]:
        return f"{missing[0]!r} in required, which is not in properties"
    if not str(schema.get("$ref", "#")).startswith("#"):
        return "a $ref to another document"
    if not PATTERN.fullmatch(str(schema.get("pattern", "a"))):
        return f"the pattern {schema['pattern']!r}, which is too general"
    return _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str | None:
    given = {name: schema[name] for name in BOUNDS if name in schema}
    if not all(type(value) is int for value in given.values()):
        return "bounds that are no integers"
    if (found := _range(schema)) is not None:
        return None if 0 < len(found) <= MOST_INTEGERS else f"{len(found)} integers between bounds"
    lowest = [v + BOUNDS[name] for name, v in given.items() if "inimum" in name]
    if given and max(lowest, default=-1) not in (0, 1):
        return "one bound of integers without the other"
    return None


def _is_of(value: Any, types: list[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in types
    return any(isinstance(value, PYTHON_TYPES[name]) for name in types)


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the schemas in a schema, with their pointers."""
    for name in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(name), dict):
            yield from ((f"{name}/{key}", part) for key, part in schema[name].items())
    for name in ("anyOf", "prefixItems"):
        if isinstance(schema.get(name), list):
            yield from ((f"{name}/{place}", part) for place, part in enumerate(schema[name]))
    for name in ("items", "additionalProperties"):
        if schema.get(name, False) is not False:  # false allows none, which it follows
            yield name, schema[name]
