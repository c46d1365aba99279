"""The client of engines: what it reads, and one message for each way in which a server is wrong."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from qdeploy.engines.client import MOST_BYTES, EngineClient
from qdeploy.engines.events import MOST_LINE_BYTES
from qdeploy.engines.faults import EngineGone
from qdeploy.errors import GenerationFailed, InputError, QdeployError
from tests.support.stub_engine import (
    STREAM,
    Reply,
    StubEngine,
    choice,
    event,
    stream,
    stub_engine,
    tokens,
    told,
)

COMPLETIONS = "/v1/completions"
KEY = "very-secret"


@pytest.fixture
def client(stub: StubEngine) -> Iterator[EngineClient]:
    with EngineClient(stub.url, api_key=KEY) as made:
        yield made


def fault(ask: Callable[[], object]) -> QdeployError:
    with pytest.raises(QdeployError) as caught:
        ask()
    assert caught.value.fix
    assert KEY not in str(caught.value)
    return caught.value


def test_models_are_read_with_their_context(stub: StubEngine, client: EngineClient) -> None:
    found = {"id": "nano", "owned_by": "vllm", "max_model_len": 2048}
    stub.replies["/v1/models"] = told({"data": [found, {"id": "other", "max_model_len": "long"}]})
    nano, other = client.models()
    assert (nano.id, nano.owner, nano.context) == ("nano", "vllm", 2048)
    assert (other.id, other.owner, other.context) == ("other", None, None)
    assert stub.asked[0].headers["Authorization"] == f"Bearer {KEY}"


def test_health_version_and_metrics_are_pages_at_the_root(
    stub: StubEngine, client: EngineClient
) -> None:
    stub.replies = {"/health": Reply(), "/metrics": Reply([b"up 1\n"])}
    client.health()
    assert client.metrics() == "up 1\n"
    assert client.version() is None, "not every engine has that page"
    stub.replies["/version"] = told({"version": "0.32.0"})
    assert client.version() == "0.32.0"


def test_a_stream_is_read_however_it_is_cut(stub: StubEngine, client: EngineClient) -> None:
    whole = b"".join(
        [
            b": a comment\r\n\r\n",
            b"event: x\n",
            event(choice(text="é", token_ids=[5, 6])),
            *tokens(7).parts,
        ]
    )
    stub.replies[COMPLETIONS] = Reply(
        [whole[i : i + 3] for i in range(0, len(whole), 3)], kind=STREAM
    )
    first, second, last = client.complete({"model": "nano"})
    assert (first.text, first.token_ids, second.token_ids) == ("é", (5, 6), (7,))
    assert last.finish_reason == "stop"
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 9)
    sent = stub.bodies(COMPLETIONS)[0]
    assert sent == {"model": "nano", "stream": True, "stream_options": {"include_usage": True}}


def test_a_connection_is_used_again(stub: StubEngine, client: EngineClient) -> None:
    stub.replies[COMPLETIONS] = tokens(1)
    for _ in range(3):
        assert len(list(client.complete({}))) == 2
    assert len({asked.connection for asked in stub.asked}) == 1


def test_closing_the_iterator_leaves_the_server(stub: StubEngine, client: EngineClient) -> None:
    endless = itertools.repeat(event(choice(token_ids=[1])))
    stub.replies[COMPLETIONS] = Reply(endless, kind=STREAM)
    answer = client.complete({})
    next(answer)
    answer.close()
    assert stub.left.wait(10)


@pytest.mark.parametrize("sent", [[event(choice(token_ids=[1]))], []], ids=["mid-stream", "before"])
def test_closing_the_client_wakes_a_thread_that_waits(
    stub: StubEngine, client: EngineClient, sent: list[bytes]
) -> None:
    stub.replies[COMPLETIONS] = Reply(sent, kind=STREAM, ending="silent")
    caught: list[QdeployError] = []

    def wait() -> None:
        try:
            list(client.complete({}))
        except QdeployError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not stub.asked:
        thread.join(0.01)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "closed here" in caught[0].what


def test_no_server_is_told_with_the_address(client: EngineClient) -> None:
    with stub_engine() as stub:
        url = stub.url
    error = fault(EngineClient(url).models)
    assert isinstance(error, EngineGone)
    assert error.where == f"{url}/v1/models"
    assert error.fix is not None
    assert "start the server" in error.fix


@pytest.mark.parametrize("chunked", [True, False])
def test_a_server_that_dies_in_mid_stream(
    stub: StubEngine, client: EngineClient, chunked: bool
) -> None:
    stub.replies[COMPLETIONS] = stream(
        [choice(token_ids=[1])], ending="dropped" if chunked else "whole", chunked=chunked
    )
    error = fault(lambda: list(client.complete({})))
    assert isinstance(error, EngineGone)
    assert "before its answer was whole" in error.what


def test_a_silent_server_is_not_waited_for_without_end(stub: StubEngine) -> None:
    stub.replies[COMPLETIONS] = Reply([], kind=STREAM, ending="silent")
    with EngineClient(stub.url, silent_seconds=0.05) as client:
        assert "sent nothing for too long" in fault(lambda: list(client.complete({}))).what


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": {"message": "the prompt is too long"}}, InputError, "prompt is too long"),
        (400, {"object": "error", "message": "older vLLM"}, InputError, "older vLLM"),
        (401, {"error": "no key"}, InputError, "QDEPLOY_ENDPOINT_KEY"),
        (404, {"detail": "Not Found"}, InputError, "has the model"),
        (422, {"detail": [{"msg": "bad field"}]}, InputError, "bad field"),
        (429, {"error": {"message": "queue full"}}, GenerationFailed, "try again in 7 s"),
        (500, {"error": {"message": "engine dead"}}, GenerationFailed, "engine dead"),
        (302, {}, InputError, "elsewhere"),
    ],
)
def test_a_refusal_has_the_servers_words(
    stub: StubEngine,
    client: EngineClient,
    status: int,
    body: object,
    kind: type[QdeployError],
    words: str,
) -> None:
    stub.replies[COMPLETIONS] = told(body, status, Retry_After="7", Location="http://elsewhere")
    error = fault(lambda: list(client.complete({})))
    assert isinstance(error, kind)
    assert f"HTTP {status}" in error.what
    assert words in str(error)
    assert len(stub.asked) == 1, "redirects are not followed: a key would go there"


def test_a_servers_words_cannot_write_to_the_terminal(
    stub: StubEngine, client: EngineClient
) -> None:
    stub.replies[COMPLETIONS] = Reply([b"\x1b[2J bad \xff" + b"x" * 10**6], 500, kind="text/html")
    error = fault(lambda: list(client.complete({})))
    assert "\x1b" not in str(error)
    assert len(str(error)) < 1000


def test_a_refusal_that_is_nested_without_end_is_told(
    stub: StubEngine, client: EngineClient
) -> None:
    stub.replies[COMPLETIONS] = Reply([b"[" * 60_000], 500)
    assert "HTTP 500: [[[" in fault(lambda: list(client.complete({}))).what


def test_an_error_within_the_stream_is_raised(stub: StubEngine, client: EngineClient) -> None:
    dead = {"error": {"message": "the engine died", "code": 500}}
    stub.replies[COMPLETIONS] = stream([choice(token_ids=[1]), dead, "[DONE]"])
    answer = client.complete({})
    assert next(answer).token_ids == (1,)
    error = fault(lambda: next(answer))
    assert isinstance(error, GenerationFailed)
    assert "the engine died" in error.what


@pytest.mark.parametrize(
    "data",
    [
        "not JSON",
        "[" * 100_000,
        [],
        {},
        {"choices": [1]},
        choice(text=5),
        choice(token_ids=["a"]),
        choice(token_ids=[-1]),
        choice(token_ids=[1], logprobs={"token_logprobs": [0.5], "top_logprobs": []}),
        choice(token_ids=[1], logprobs={"token_logprobs": ["x"], "top_logprobs": [None]}),
        choice(token_ids=[1], logprobs={"token_logprobs": [-1], "top_logprobs": [{"the": -1}]}),
        choice(token_ids=[1], logprobs={"token_logprobs": [-(10**400)], "top_logprobs": [None]}),
        choice(token_ids=[1], logprobs={"token_logprobs": [float("nan")], "top_logprobs": [None]}),
        {"choices": [], "usage": {"prompt_tokens": "3"}},
    ],
)
def test_garbage_in_an_event_is_told(stub: StubEngine, client: EngineClient, data: object) -> None:
    stub.replies[COMPLETIONS] = stream([data], finish="stop")
    error = fault(lambda: list(client.complete({})))
    assert isinstance(error, GenerationFailed)
    assert error.what.startswith("the answer is not one of OpenAI's API")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 3}', b'{"data": [{}]}', b"\xff"])
def test_garbage_in_place_of_models_is_told(
    stub: StubEngine, client: EngineClient, body: bytes
) -> None:
    stub.replies["/v1/models"] = Reply([body])
    assert "not one of OpenAI's API" in fault(client.models).what


def test_a_page_in_place_of_a_stream_is_told(stub: StubEngine, client: EngineClient) -> None:
    stub.replies[COMPLETIONS] = Reply([b"<html>"], kind="text/html")
    assert "text/html where a stream" in fault(lambda: list(client.complete({}))).what


def test_bytes_that_are_no_text_are_told(stub: StubEngine, client: EngineClient) -> None:
    stub.replies[COMPLETIONS] = Reply([b"data: \xff\xfe\n\n"], kind=STREAM)
    assert "no UTF-8" in fault(lambda: list(client.complete({}))).what


def test_endless_answers_are_cut_off(stub: StubEngine, client: EngineClient) -> None:
    endless = Reply(itertools.repeat(b"x" * 1_000_000), kind=STREAM)
    stub.replies = {COMPLETIONS: endless, "/v1/models": endless}
    assert f"more than {MOST_LINE_BYTES}" in fault(lambda: list(client.complete({}))).what
    assert f"more than {MOST_BYTES}" in fault(client.models).what
