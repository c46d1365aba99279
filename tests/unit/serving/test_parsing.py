"""Whatever a client sends is parsed or refused, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.errors import InputError
from qdeploy.serving.body import decode
from qdeploy.serving.encode_routes import EmbeddingFields, RerankFields
from qdeploy.serving.errors import ApiError, told
from qdeploy.serving.fields import EVERYWHERE, IN_CHATS, IN_COMPLETIONS, IN_ENCODINGS, check
from qdeploy.serving.settings import Limits
from qdeploy.serving.text import chat_request, completion_request
from tests.support.answers import NANO
from tests.support.serving import Script

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "schema"]), inner, max_size=2)
    ),
    max_leaves=6,
)
PARSERS: dict[str, tuple[Callable[[Any], Any], type[Any], Any]] = {
    "chats": (lambda b: chat_request.parse(b, Limits()), chat_request.ChatFields,
              {"messages": [{"role": "user", "content": "x"}]}),
    "completions": (lambda b: completion_request.parse(b, Limits()),
                    completion_request.CompletionFields, {"prompt": "x"}),
    "embeddings": (lambda b: check(EmbeddingFields, b, IN_ENCODINGS), EmbeddingFields,
                   {"input": "x"}),
    "reranking": (lambda b: check(RerankFields, b, IN_ENCODINGS), RerankFields,
                  {"query": "x", "documents": ["y"]}),
}  # fmt: skip


def refusal(call: Callable[[], object]) -> ApiError | None:
    """What a client is told in place of the result, if anything. Bugs are no refusals."""
    try:
        call()
    except (ApiError, InputError) as error:
        return told(error)
    return None


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    error = refusal(lambda: decode(raw))
    assert error is None or error.status == 400


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_what_json_writes_is_read(content: dict[str, str]) -> None:
    """Surrogates in pairs are one character, and need no refusal."""
    assert decode(json.dumps(content | {"x": "🚀"}).encode()) == content | {"x": "🚀"}


@pytest.mark.parametrize("route", PARSERS)
@given(data=st.data())
def test_any_value_of_any_field_is_taken_or_refused(route: str, data: st.DataObject) -> None:
    parse, fields, needed = PARSERS[route]
    names = [field.alias or name for name, field in fields.model_fields.items()]
    known = st.sampled_from([*names, *EVERYWHERE])
    body = needed | data.draw(st.dictionaries(known, VALUES, max_size=3))
    error = refusal(lambda: parse(body))
    assert error is None or (error.status == 400 and error.param)


ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "x"])
PARTS = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"]), "text": VALUES})
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES, "content": st.text(max_size=5) | VALUES | st.lists(PARTS, max_size=2)},
    optional={"tool_calls": VALUES, "reasoning_content": VALUES, "name": VALUES},
)
FUNCTIONS = st.fixed_dictionaries({"name": st.text(max_size=3) | VALUES, "parameters": VALUES})
SCHEMAS = st.fixed_dictionaries({"schema": VALUES})
WISHES = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=3)},
    optional={
        "tools": st.lists(st.fixed_dictionaries({"function": FUNCTIONS | VALUES}), max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | VALUES,
        "chat_template_kwargs": st.dictionaries(st.text(max_size=9), VALUES, max_size=2),
        "response_format": st.fixed_dictionaries(
            {"type": st.just("json_schema"), "json_schema": SCHEMAS}
        ),
        "thinking_budget": st.integers(),
        "temperature": st.floats(),
        "seed": st.integers(),
        "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3),
        "continue_final_message": st.booleans(),
        "add_generation_prompt": st.booleans(),
    },
)


@given(WISHES)
def test_any_chat_is_prepared_or_refused(body: dict[str, Any]) -> None:
    def prepare() -> None:
        fields = chat_request.parse(body, Limits())
        session = Script("", json_schema=True)
        asked = chat_request.settings(fields, NANO, 0, None)
        chat_request.generation(fields, session, NANO, asked, 0)

    error = refusal(prepare)
    assert error is None or error.status == 400


@pytest.mark.parametrize("table", [IN_CHATS, IN_COMPLETIONS, IN_ENCODINGS], ids=["c", "t", "e"])
def test_every_refused_field_has_a_way_to_pass(table: dict[str, list[Any]]) -> None:
    """Null and the neutral values, which clients send as a matter of form."""
    for name, neutral in table.items():
        for value in (None, *neutral):
            check(EmbeddingFields, {"input": "x", name: value}, table)
        with pytest.raises(ApiError) as caught:
            check(EmbeddingFields, {"input": "x", name: "something else"}, table)
        assert caught.value.param == name


def test_no_field_is_both_known_and_refused() -> None:
    for fields, table in (
        (chat_request.ChatFields, IN_CHATS),
        (completion_request.CompletionFields, IN_COMPLETIONS),
    ):
        assert not {f.alias or name for name, f in fields.model_fields.items()} & table.keys()
