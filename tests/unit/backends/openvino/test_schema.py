"""Which JSON schemas are taken, and that the others are refused by what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.backends.openvino import schema
from qdeploy.backends.openvino.schema import check_schema, spelled_out
from qdeploy.backends.openvino.white_space import LONGEST, WhiteSpace
from qdeploy.errors import InputError, PromptError
from qdeploy.interface import Request, Token

NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, True]}}}
TAKEN: list[Any] = [
    True,
    {},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
     "additionalProperties": False, "title": "T", "description": "d"},
    {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
    {"type": "array", "prefixItems": [{"const": 1}], "items": False},
    {"$defs": {"n": NODE}, "$ref": "#/$defs/n"},
    {"type": ["integer", "null"], "default": None},
    {"type": "string", "enum": ["a", "b"]},
    {"type": "integer", "minimum": 1, "maximum": 1000},
    {"type": "integer", "exclusiveMinimum": 0},
    {"type": "string", "format": "date"},
    *({"type": "string", "pattern": p} for p in (
        r"^\d{3}-\d{4}$", "^[a-z0-9-]+$", "^(yes|no)$", r"^[\w.+-]+@[\w-]+\.com$", "^(?:ab|cd){2}$",
    )),
]  # fmt: skip
REFUSED: list[tuple[Any, str]] = [
    (False, "/ is false, and not a schema"),
    ([], "/ is [], and not a schema"),
    ({"type": "text"}, '/ has the type "text"'),
    ({"type": "integer", "multipleOf": 7}, "/ has multipleOf"),
    ({"allOf": [{}]}, "/ has allOf without a type"),
    ({"oneOf": [{}]}, "/ has oneOf without a type"),
    ({"type": "string", "maxLength": 5}, "/ has maxLength"),
    ({"type": "number", "minimum": 0}, "/ has minimum"),
    ({"$ref": "#/$defs/n", "minItems": 1}, "/ has minItems beside $ref"),
    ({"anyOf": [{}], "type": "object"}, "/ has type beside anyOf"),
    ({"$ref": "https://example.com/s"}, "/ has a $ref to another document"),
    ({"enum": []}, "/ has an enum without values"),
    ({"type": "integer", "const": "a"}, "/ has a value that is not of its type"),
    ({"type": "integer", "const": True}, "/ has a value that is not of its type"),
    ({"type": "object", "required": ["x"]}, "/ has 'x' in required, which is not in properties"),
    ({"type": "object", "properties": {"a": {"items": {"not": {}}, "type": "array"}}},
     "/properties/a/items has not without a type"),
    ({"type": "integer", "minimum": 5}, "/ has one bound of integers without the other"),
    ({"type": "integer", "maximum": 5}, "/ has one bound of integers without the other"),
    ({"type": "integer", "minimum": 0, "maximum": 1000}, "/ has 1001 integers between bounds"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "/ has 0 integers between bounds"),
    ({"type": "integer", "minimum": 0.5}, "/ has bounds that are no integers"),
    *(({"type": "string", "pattern": p}, "which is too general") for p in (
        ".", "[^a]", "[A-z]", 'a"', r"\s", r"\\", "[ -~]", "a|b", "\n",
    )),
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([*schema.NOTES, *schema.BOUNDS, *schema.ALONE, "type", "properties",
                         "required", "items", "prefixItems", "pattern", "a"]),
        inner | st.sampled_from(sorted(schema.BY_TYPE)), max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("taken", TAKEN, ids=json.dumps)
def test_what_the_runtime_keeps_to_is_taken(taken: Any) -> None:
    check_schema(json.dumps(taken), "CPU")


@pytest.mark.parametrize(("other", "reason"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_what_it_would_ignore_is_refused_by_name(other: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        check_schema(json.dumps(other), "CPU")
    assert reason in caught.value.what


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it has 100000 characters"),
        ("[" * 60_000, "it is not JSON"),
        ('{"type": "array", "items": ' * 40 + "true" + "}" * 40, "more than 32 levels"),
    ],
    ids=["broken", "long", "too deep for the parser", "deep"],
)
def test_a_text_that_could_break_the_compiler_does_not_reach_it(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_schema(text, "CPU")


@settings(max_examples=60)
@given(JSON)
def test_nothing_but_a_refusal_comes_of_any_other_json(value: Any) -> None:
    try:
        check_schema(json.dumps(value), "CPU")
    except InputError:
        return
    json.loads(spelled_out(json.dumps(value)))


@given(st.integers(-(10**6), 10**6), st.integers(0, 20), st.booleans(), st.booleans())
def test_a_range_is_spelled_out(least: int, more: int, below: bool, above: bool) -> None:
    bounds = {
        "exclusiveMinimum" if below else "minimum": least - below,
        "exclusiveMaximum" if above else "maximum": least + more + above,
    }
    inner = {"type": "integer", **bounds, "title": "T"}
    text = json.dumps({"type": "array", "items": inner})
    check_schema(text, "CPU")
    items = {"title": "T", "enum": list(range(least, least + more + 1))}
    assert json.loads(spelled_out(text)) == {"type": "array", "items": items}


@pytest.mark.parametrize(("spaces", "ends"), [(LONGEST - 1, True), (LONGEST, False)])
def test_white_space_without_end_ends_an_answer_in_json(
    spaces: int, ends: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Token 0 is white space, the others are not."""
    white = WhiteSpace(tmp_path, "CPU")
    monkeypatch.setattr(white, "_is_white", lambda token: token == 0)
    tokens = [Token(i, 0.0) for i in (1, *[0] * (spaces // 2), 1, *[0] * spaces, 1)]
    free, kept = Request((1,), 99), Request((1,), 99, json_schema="{}")
    assert list(white.bounded(tokens, free)) == tokens
    if ends:
        assert list(white.bounded(tokens, kept)) == tokens
    else:
        with pytest.raises(PromptError, match="32 tokens of white space"):
            list(white.bounded(tokens, kept))
