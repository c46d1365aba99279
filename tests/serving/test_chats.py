"""Chats over HTTP: whole and streamed, over a session whose answers are written down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qdeploy.bundle import Bundle
from tests.support.serving import Running, Script, chat_model, events, running

THOUGHT = "<think>\nTwo and two.\n</think>\n\n4 汉🚀\u2028!"


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Running]:
    """A server that always thinks of the same."""
    with running(chat_model(bundle, Script(THOUGHT, concurrency=2)), concurrency=2) as found:
        yield found


def deltas(stream: list[Any], index: int = 0) -> list[Any]:
    """The deltas of one choice of a stream."""
    return [
        choice["delta"] for chunk in stream[:-1] for choice in chunk["choices"]
        if choice["index"] == index
    ]  # fmt: skip


def test_a_whole_answer_has_its_thinking_apart_under_both_names(served: Running) -> None:
    answer = served.chat(model="scripted").json()
    [choice] = answer["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": "4 汉🚀\u2028!",
        "reasoning": "Two and two.", "reasoning_content": "Two and two.",
    }  # fmt: skip
    assert choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion"
    assert answer["system_fingerprint"].startswith("fp_")
    usage = answer["usage"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("index", [0, 1])
def test_a_stream_joins_to_the_whole_answer(served: Running, index: int) -> None:
    response = served.chat(stream=True, n=2)
    assert response.headers["content-type"].startswith("text/event-stream")
    stream = events(response.text)
    assert stream[-1] == "[DONE]"
    parts = deltas(stream, index)
    assert parts[0] == {"role": "assistant", "content": ""}
    assert "".join(d.get("content", "") for d in parts) == "4 汉🚀\u2028!"
    assert "".join(d.get("reasoning_content", "") for d in parts) == "Two and two."
    assert "".join(d.get("reasoning", "") for d in parts) == "Two and two."


def test_every_chunk_of_a_stream_is_of_one_answer(served: Running) -> None:
    chunks: list[Any] = events(served.chat(stream=True).text)[:-1]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]


def test_the_usage_comes_last_and_only_if_asked_for(served: Running) -> None:
    without: list[Any] = events(served.chat(stream=True).text)
    assert not [chunk for chunk in without[:-1] if "usage" in chunk]
    stream: list[Any] = events(
        served.chat(stream=True, stream_options={"include_usage": True}).text
    )
    assert stream[-2]["choices"] == []
    assert stream[-2]["usage"] == served.chat().json()["usage"]


def test_an_answer_cut_in_the_thinking_has_no_content_and_says_length(served: Running) -> None:
    [choice] = served.chat(max_tokens=4).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert choice["message"]["reasoning"]


def test_a_seed_is_told_and_each_choice_has_its_own(bundle: Bundle) -> None:
    session = Script("4")
    with running(chat_model(bundle, session)) as served:
        assert served.chat(seed=7, n=2).json()["seed"] == 7
        drawn = served.chat().json()["seed"]
    assert [request.sampling.seed for request in session.requests] == [7, 8, drawn]


def test_sampling_is_the_models_own_but_for_what_is_given(bundle: Bundle) -> None:
    session = Script("4")
    with running(chat_model(bundle, session)) as served:
        served.chat(top_k=-1, temperature=0.25, presence_penalty=1.5, seed=-1)
    [request] = session.requests
    found = request.sampling
    assert (found.temperature, found.top_k, found.presence_penalty) == (0.25, 0, 1.5)
    assert found.top_p < 1
    assert found.seed == 2**32 - 1


@pytest.mark.parametrize(
    "fields",
    [
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"enable_thinking": False},
        {"reasoning_effort": "none"},
    ],
    ids=str,
)
def test_thinking_is_switched_off_by_any_of_its_names(
    bundle: Bundle, fields: dict[str, Any]
) -> None:
    session = Script("4")
    with running(chat_model(bundle, session)) as served:
        served.chat(**fields)
    tokenizer = chat_model(bundle, session).tokenizer
    assert "</think>" in tokenizer._inner.decode(
        list(session.requests[0].prompt_ids), skip_special_tokens=False
    )


@pytest.mark.parametrize("field", ["thinking_budget", "thinking_token_budget"])
def test_a_thinking_budget_ends_the_thinking(bundle: Bundle, field: str) -> None:
    session = Script("<think>one two three four five", "42")
    with running(chat_model(bundle, session)) as served:
        [choice] = served.chat(**{field: 2}).json()["choices"]
    assert choice["message"]["content"] == "42"
    assert len(session.requests) == 2


def test_unknown_fields_are_ignored_and_null_is_the_default(served: Running) -> None:
    response = served.chat(
        user="me", made_up=1, logit_bias=None, temperature=None, n=None, best_of=1, top_logprobs=0
    )
    assert response.status_code == 200
