"""Chats with a server that does the text: what is sent, and whose count the figures follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qdeploy.deploy.remote import RemoteAnswer, RemoteChat
from qdeploy.engines.faults import EngineGone
from qdeploy.engines.kinds import KINDS, OTHER, Kind
from qdeploy.errors import GenerationFailed, InputError
from tests.support.stub_engine import (
    Reply,
    StubEngine,
    deltas,
    models,
    stream,
    stub_engine,
)

CHATS = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
USAGE = {"prompt_tokens": 4, "completion_tokens": 7}


@pytest.fixture
def stub() -> Iterator[StubEngine]:
    with stub_engine() as made:
        made.replies["/v1/models"] = models("nano")
        made.replies[CHATS] = deltas({"role": "assistant", "content": ""}, {"content": "hi"})
        yield made


@pytest.fixture
def chat(stub: StubEngine) -> Iterator[RemoteChat]:
    with RemoteChat(stub.url) as made:
        yield made


def finished(answer: RemoteAnswer) -> RemoteAnswer:
    for _ in answer:
        pass
    return answer


@pytest.mark.parametrize(
    "thoughts",
    [
        {"reasoning": "hm"},
        {"reasoning_content": "hm"},
        {"reasoning": "hm", "reasoning_content": "hm"},
    ],
)
def test_thinking_has_its_channel_by_either_name(
    stub: StubEngine, chat: RemoteChat, thoughts: dict[str, str]
) -> None:
    stub.replies[CHATS] = deltas(thoughts, {"content": "a"}, {"content": "b"}, usage=USAGE)
    answer = chat.stream(HELLO)
    assert [(p.channel, p.text) for p in answer] == [
        ("reasoning", "hm"), ("content", "a"), ("content", "b"),
    ]  # fmt: skip
    assert (answer.thinking, answer.text, answer.finish_reason) == ("hm", "ab", "stop")


def test_options_are_the_servers_own_fields(stub: StubEngine, chat: RemoteChat) -> None:
    finished(
        chat.stream(
            HELLO, system="be kind", thinking=False, thinking_budget=9, max_new_tokens=5, seed=1,
            temperature=0.0, top_k=20, min_p=0.1, repetition_penalty=1.1, top_p=None,
            stop=("a", "b"),
        )
    )  # fmt: skip
    (body,) = stub.bodies(CHATS)
    assert body == {
        "model": "nano",
        "messages": [{"role": "system", "content": "be kind"}, *HELLO],
        "chat_template_kwargs": {"enable_thinking": False},
        "thinking_token_budget": 9,
        "max_tokens": 5,
        "seed": 1,
        "temperature": 0.0,
        "top_k": 20,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "stop": ["a", "b"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("options", [{"top_k": 5}, {"thinking": True}, {"thinking_budget": 3}])
def test_what_a_server_would_ignore_is_refused_by_name(
    stub: StubEngine, options: dict[str, Any]
) -> None:
    stub.replies["/v1/models"] = models("nano", owner="library")
    with RemoteChat(stub.url) as chat, pytest.raises(InputError, match="Ollama has no field"):
        chat.stream(HELLO, **options)
    assert not stub.bodies(CHATS)


@pytest.mark.parametrize("kind", [*KINDS, OTHER], ids=lambda kind: kind.name)
def test_every_server_ends_answers_at_stop_texts(stub: StubEngine, kind: Kind) -> None:
    stub.replies["/v1/models"] = models("nano", owner=kind.owner or "someone")
    with RemoteChat(stub.url) as chat:
        finished(chat.stream(HELLO, stop="END"))
    assert stub.bodies(CHATS)[0]["stop"] == "END"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["1 E", "ND"], "1 "),  # OpenVINO Model Server
        (["1 END 2", "3"], "1 "),  # a server that does not know the field
        (["1 "], "1 "),
        (["1 E", "N"], "1 EN"),
    ],
)
def test_a_stop_text_is_no_part_of_the_answer(
    stub: StubEngine, chat: RemoteChat, parts: list[str], text: str
) -> None:
    stub.replies[CHATS] = deltas({"reasoning": "END?"}, *({"content": part} for part in parts))
    answer = finished(chat.stream(HELLO, stop=["END"]))
    assert (answer.thinking, answer.text, answer.finish_reason) == ("END?", text, "stop")


def test_an_empty_stop_text_is_refused(stub: StubEngine, chat: RemoteChat) -> None:
    with pytest.raises(InputError, match="a stop text is empty"):
        chat.stream(HELLO, stop="")
    assert not stub.bodies(CHATS)


def test_tokens_are_by_the_servers_count(stub: StubEngine, chat: RemoteChat) -> None:
    parts = [{"content": "a b"}, {"content": " c"}]
    stub.replies[CHATS] = deltas(*parts, usage=USAGE)
    told = finished(chat.stream(HELLO)).as_dict(chat)
    assert (told["prompt_tokens"], told["new_tokens"], told["chunks"]) == (4, 7, 2)
    assert told["tokens_counted_by"] == "the server"
    assert told["tpot_ms"] is not None


def test_chunks_are_not_taken_for_tokens(stub: StubEngine, chat: RemoteChat) -> None:
    stub.replies[CHATS] = deltas({"content": "a b"}, {"content": " c"})
    told = finished(chat.stream(HELLO)).as_dict(chat)
    assert (told["new_tokens"], told["tokens_counted_by"], told["tpot_ms"]) == (None, None, None)
    assert told["ttft_ms"] is not None


def test_the_limit_of_tokens_is_told(stub: StubEngine, chat: RemoteChat) -> None:
    stub.replies[CHATS] = deltas({"reasoning": "so long"}, finish="length")
    answer = finished(chat.stream(HELLO))
    assert (answer.finish_reason, answer.text) == ("length", "")


def test_leaving_early_cancels_at_the_server(stub: StubEngine, chat: RemoteChat) -> None:
    text = stream([{"choices": [{"delta": {"content": "a"}}]}])
    stub.replies[CHATS] = Reply(text.parts, kind=text.kind, ending="silent")
    answer = chat.stream(HELLO)
    pieces = iter(answer)
    next(pieces)
    pieces.close()
    assert stub.left.wait(10)
    assert answer.finish_reason == "cancelled"


def test_a_chat_that_ends_early_is_no_answer(stub: StubEngine, chat: RemoteChat) -> None:
    stub.replies[CHATS] = stream([{"choices": [{"delta": {"content": "a"}}]}])
    with pytest.raises(EngineGone, match="before its answer was whole"):
        finished(chat.stream(HELLO))


@pytest.mark.parametrize(
    "event",
    [{}, {"choices": [{}]}, {"choices": ["x"]}, {"choices": [{"delta": {"content": 5}}]}],
)
def test_garbage_in_a_chat_is_told(stub: StubEngine, chat: RemoteChat, event: object) -> None:
    stub.replies[CHATS] = stream([event])
    with pytest.raises(GenerationFailed, match="not one of OpenAI's API"):
        finished(chat.stream(HELLO))
