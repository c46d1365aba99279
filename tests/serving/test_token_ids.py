"""Requests to /v1/completions by token ids, as another qdeploy sends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.engines.session import completion_body
from qdeploy.generation import prompt_logprobs
from qdeploy.interface import Request, Sampling
from qdeploy.serving.text import token_reply
from tests.support.serving import Running, Script, chat_model, events, running


class Sure(Script):
    """Knows one token, and is sure of it."""

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return np.zeros((len(token_ids), 1), np.float32)


@pytest.fixture
def script() -> Script:
    return Sure("4!", concurrency=2, logprobs=5)


@pytest.fixture
def served(bundle: Bundle, script: Script) -> Iterator[Running]:
    with running(chat_model(bundle, script), concurrency=2) as found:
        yield found


def ask(served: Running, **fields: Any) -> httpx.Response:
    body = {"prompt": [1, 2, 3], "return_token_ids": True} | fields
    return served.http.post("/v1/completions", json=body)


def choices(response: httpx.Response) -> list[Any]:
    return [c for chunk in events(response.text)[:-1] for c in chunk["choices"]]  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_has_its_tokens_and_the_prompt_that_was_taken(
    served: Running, script: Script, stream: bool
) -> None:
    response = ask(served, stream=stream)
    assert response.status_code == 200
    parts = choices(response) if stream else response.json()["choices"]
    made = [token for part in parts for token in part["token_ids"]]
    (request,) = script.requests
    assert request.prompt_ids == (1, 2, 3)
    assert made[-1] in request.stop_ids, "the token that ended it is told"
    assert parts[-1]["prompt_token_ids"] == [1, 2, 3]
    assert parts[-1]["finish_reason"] == "stop"


def test_stop_tokens_are_the_models_own_and_those_of_the_request(
    served: Running, script: Script
) -> None:
    ask(served, stop_token_ids=None)
    ask(served, stop_token_ids=[5])
    ask(served, stop_token_ids=[5], ignore_eos=True)
    ask(served, ignore_eos=True, max_tokens=2)
    own, more, given, none = (request.stop_ids for request in script.requests)
    assert more == own | {5}
    assert (set(given), set(none)) == ({5}, set())
    assert script.requests[-1].max_new_tokens == 2


def test_log_probabilities_name_tokens_by_their_ids(served: Running) -> None:
    told = ask(served, logprobs=1, max_tokens=1).json()["choices"][0]
    (token,) = told["token_ids"]
    name = f"token_id:{token}"
    assert told["logprobs"] == {
        "tokens": [name], "token_logprobs": [-0.5], "top_logprobs": [{name: -0.5}],
    }  # fmt: skip


def test_what_another_qdeploy_sends_is_taken(served: Running, script: Script) -> None:
    asked = Request(
        (1, 2, 3), 5, Sampling(0.5, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.1, seed=7),
        frozenset({9}), logprobs=2,
    )  # fmt: skip
    body = completion_body(served.service.settings.name, asked)
    response = served.http.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    (request,) = script.requests
    assert request == asked


def test_each_token_reaches_a_session_at_the_server_before_the_next_is_made(
    bundle: Bundle, served: Running, script: Script
) -> None:
    with run.load(bundle, run.choose(bundle, device=served.url)) as session:
        script.hold, before = True, script.given
        answer = session.generate(Request((1, 2, 3), 2))
        for count in (1, 2):
            script.go.release()
            next(answer)
            assert script.given - before == count
        assert list(answer) == []


def test_a_stream_ends_with_the_usage_that_was_asked_for(served: Running) -> None:
    response = ask(served, stream=True, stream_options={"include_usage": True})
    *_, last, done = events(response.text)
    assert done == "[DONE]"
    assert last["usage"]["prompt_tokens"] == 3  # type: ignore[index]


@pytest.mark.parametrize("whole", [False, True])
def test_a_text_is_scored(served: Running, whole: bool) -> None:
    asked = {"logprobs": -1, "max_tokens": 1} | ({"prompt_logprobs": -1} if whole else {})
    told = ask(served, **asked).json()["choices"][0]
    assert told["logprobs"]["top_logprobs"] == [{"token_id:0": 0.0}]
    assert ("prompt_logprobs" in told) is whole
    if whole:
        assert told["prompt_logprobs"] == [None, *[{"0": {"logprob": 0.0}}] * 2]


def test_an_answer_of_too_many_numbers_is_refused(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_reply, "MOST_NUMBERS", 10)
    response = ask(served, logprobs=-1, prompt_logprobs=-1)
    assert response.status_code == 400
    assert "more than 10 numbers" in response.json()["error"]["message"]


def test_a_text_whose_logits_take_too_much_memory_is_not_scored(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_logprobs, "MOST_BYTES", 4)
    response = ask(served, logprobs=-1)
    assert response.status_code == 400
    assert "a prompt of 3 tokens" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "text"}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [2**31 + 1]}, None),
        ({"n": 2}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"echo": True}, "echo"),
        ({"stop_token_ids": ["x"]}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, None),
        ({"stop_token_ids": [10**30]}, None),
        ({"prompt_logprobs": 5}, "prompt_logprobs"),
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"logprobs": 6}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
    ],
)
def test_what_cannot_be_answered_by_ids_is_refused(
    served: Running, fields: dict[str, Any], param: str | None
) -> None:
    response = ask(served, **fields)
    assert response.status_code == 400, response.text
    found = response.json()["error"]["param"]
    assert param is None or found.startswith(param)
