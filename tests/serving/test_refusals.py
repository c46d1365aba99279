"""Requests that cannot be served: status, message and code, in OpenAI's shape."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from qdeploy.bundle import Bundle
from qdeploy.serving.settings import Limits
from tests.support.serving import QUESTION, Running, Script, chat_model, running

CHAT = "/v1/chat/completions"
COMPLETION = "/v1/completions"


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Running]:
    limits = Limits(body_bytes=20_000, answer_tokens=100, choices=2, stops=2)
    with running(chat_model(bundle, Script("4", context=300)), limits=limits) as found:
        yield found


def refused(response: Any, status: int, code: str | None, *says: str) -> dict[str, Any]:
    """Check an error's shape, and return what is in it."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    for words in says:
        assert words in error["message"]
    assert response.headers["x-request-id"]
    return error


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"messages": NaN}', "NaN"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[" * 19_000, "nested"),
        (b'{"messages": [{"role": "user", "content": "\\ud83d"}]}', "lone surrogate"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_that_is_no_json_object(served: Running, body: bytes, says: str) -> None:
    error = refused(served.http.post(CHAT, content=body), 400, "malformed_body", says)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "hello"}, "messages", "list"),
        ({"messages": [1]}, "messages[0]", "dictionary"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "text"),
        ({"temperature": "1"}, "temperature", "number"),
        ({"temperature": -1}, "temperature", "temperature is -1"),
        ({"top_p": 2}, "top_p", "top-p is 2"),
        ({"top_k": -2}, "top_k", "greater than or equal to -1"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 101}, "max_tokens", "limit of 100"),
        ({"max_completion_tokens": 101}, "max_tokens", "limit of 100"),
        ({"n": 3}, "n", "limit is 2"),
        ({"n": True}, "n", "integer"),
        ({"stop": ["a", "b", "c"]}, "stop", "more than 2"),
        ({"stop": [""]}, "stop[0]", "at least 1 character"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"logit_bias": {"1": 5}}, "logit_bias", "not supported"),
        ({"modalities": ["text", "audio"]}, "modalities", "reads and writes text"),
        ({"functions": [{"name": "f"}]}, "functions", "give tools"),
        ({"best_of": 2}, "best_of", "not supported"),
        ({"echo": True}, "echo", "not supported"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "not supported"),
        ({"guided_regex": "a+"}, "guided_regex", "not supported"),
        ({"logprobs": True}, "logprobs", "tells none"),
        ({"top_logprobs": 2}, "top_logprobs", "logprobs must be true"),
        ({"response_format": {"type": "json_object"}}, "response_format", "schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}},
         "response_format.json_schema.schema", "a JSON Schema is needed"),
        ({"tool_choice": "any"}, "tool_choice", "'required'"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tool_choice": {}}, "tool_choice", "names no function"),
        ({"include_reasoning": False}, "include_reasoning", "not supported"),
        ({"return_token_ids": True}, "return_token_ids", "not supported"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "medium"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}},
         "chat_template_kwargs.enable_thinking", "true or false"),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}},
         "enable_thinking", "contradicts"),
    ],
    ids=str,
)  # fmt: skip
def test_a_field_of_a_chat(served: Running, fields: dict[str, Any], param: str, says: str) -> None:
    response = served.chat(**fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert error["code"] in ("invalid_value", "unsupported")
    assert says in error["message"]


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({}, "prompt", "required"),
        ({"prompt": []}, "prompt", "one or more"),
        ({"prompt": {"a": 1}}, "prompt", "token ids"),
        ({"prompt": [1, "a"]}, "prompt", "token ids"),
        ({"prompt": [True]}, "prompt", "token ids"),
        ({"prompt": [5_000_000_000]}, None, "outside the model's vocabulary"),
        ({"prompt": [1, -1]}, None, "outside the model's vocabulary"),
        ({"prompt": "x", "suffix": "y"}, "suffix", "not supported"),
        ({"prompt": "x", "logprobs": 1}, "logprobs", "tells none"),
        ({"prompt": ["a", "b", "c"]}, "prompt", "3 answers"),
        ({"prompt": "x", "n": 2, "best_of": 3}, "best_of", "not supported"),
    ],
    ids=str,
)
def test_a_field_of_a_completion(
    served: Running, fields: dict[str, Any], param: str | None, says: str
) -> None:
    response = served.http.post(COMPLETION, json=fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["param"] or "").startswith(param or "")
    assert says in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long(served: Running, stream: bool) -> None:
    long = [{"role": "user", "content": "word " * 400}]
    refused(served.chat(messages=long, stream=stream), 400, "context_length_exceeded", "holds 300")


def test_a_body_that_is_too_large(served: Running) -> None:
    long = [{"role": "user", "content": "x" * 30_000}]
    refused(served.chat(messages=long), 413, "body_too_large", "20000 bytes")


def test_a_body_that_is_too_large_without_saying_so(served: Running) -> None:
    chunks = (b"x" * 1000 for _ in range(30))
    refused(served.http.post(CHAT, content=chunks), 413, "body_too_large")


def test_a_body_that_is_compressed(served: Running) -> None:
    headers = {"content-encoding": "gzip"}
    response = served.http.post(CHAT, content=gzip.compress(b"{}"), headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_encoding"


def test_another_model(served: Running) -> None:
    refused(served.chat(model="gpt-4"), 404, "model_not_found", "'gpt-4'", "'scripted'")
    refused(served.http.get("/v1/models/gpt-4"), 404, "model_not_found")


def test_another_task(served: Running) -> None:
    refused(
        served.http.post("/v1/embeddings", json={"input": "x"}),
        400, "wrong_task", "to generate", CHAT,
    )  # fmt: skip
    refused(served.http.post("/rerank", json={"query": "x", "documents": ["y"]}), 400, "wrong_task")


def test_no_such_route_or_method(served: Running) -> None:
    refused(served.http.get("/v1/nothing"), 404, "unknown_url")
    refused(served.http.get(CHAT), 405, None, "GET")
    assert served.http.get(CHAT).headers["allow"] == "POST"


@pytest.mark.parametrize("stream", [False, True])
def test_a_runtime_that_breaks_before_the_first_token(bundle: Bundle, stream: bool) -> None:
    session = Script("4")
    session.breaks_after = 0
    with running(chat_model(bundle, session)) as served:
        error = refused(served.chat(stream=stream), 500, "runtime_failed", "on fire")
        assert error["type"] == "server_error"
        assert "/dev/chip" not in error["message"]
        refused(served.http.get("/ready"), 503, "runtime_failed")
        session.breaks_after = None
        assert served.http.get("/ready").status_code == 200
        assert served.chat().status_code == 200


def test_a_runtime_that_breaks_in_mid_stream(bundle: Bundle) -> None:
    """The stream ends with the error, and without the mark of a whole answer."""
    session = Script("one two three")
    session.breaks_after = 2
    with running(chat_model(bundle, session)) as served:
        response = served.chat(stream=True)
        assert response.status_code == 200
        lines = [line for line in response.text.split("\n\n") if line]
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "runtime_failed"
        assert "[DONE]" not in response.text


def test_an_answer_that_takes_too_long(bundle: Bundle) -> None:
    session = Script("4")
    session.hold = True
    with running(chat_model(bundle, session), limits=Limits(seconds=0.05)) as served:
        refused(served.chat(), 504, "timeout", "0.05 s")
        session.go.release(9)


def test_an_error_nobody_expected_says_nothing_of_the_inside(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chat_model(bundle, Script("4"))

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("/secret/path")

    with running(model) as served:
        monkeypatch.setattr(type(model.session), "_generate", broken)
        error = refused(served.chat(), 500, "internal")
        assert "secret" not in error["message"]
        monkeypatch.setattr(type(served.service), "check", broken)
        error = refused(served.chat(), 500, "internal")
        assert "secret" not in error["message"]
        assert served.http.get("/health").status_code == 200


def test_the_question_is_never_logged(served: Running, capfd: pytest.CaptureFixture[str]) -> None:
    word = "Xyzzy"
    served.chat(messages=[{"role": "user", "content": word}], logit_bias={"1": 1})
    served.http.post(CHAT, content=f'{{"messages": "{word}"'.encode())
    served.chat(messages=[*QUESTION, {"role": "user", "content": {"a": word}}])
    assert word not in "".join(capfd.readouterr())
