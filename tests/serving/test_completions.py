"""Completions over HTTP: texts and token ids that are continued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.bundle import Bundle
from tests.support.serving import Running, Script, chat_model, events, running

COMPLETION = "/v1/completions"
TEXT = "<think>a</think> 汉🚀 b"


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Running]:
    session = Script(TEXT, logprobs=5)
    with running(chat_model(bundle, session)) as found:
        yield found


def complete(served: Running, **fields: Any) -> Any:
    response = served.http.post(COMPLETION, json={"max_tokens": 50} | fields)
    assert response.status_code == 200, response.text
    return response.json() if not fields.get("stream") else events(response.text)


def test_a_text_is_continued_and_its_tags_are_text(served: Running) -> None:
    answer = complete(served, prompt="x")
    [choice] = answer["choices"]
    assert answer["object"] == "text_completion"
    assert choice["text"].endswith("汉🚀 b")
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"] is None


def test_a_stream_joins_to_the_whole_text(served: Running) -> None:
    stream = complete(served, prompt="x", stream=True, stream_options={"include_usage": True})
    whole = complete(served, prompt="x")
    text = "".join(choice["text"] for chunk in stream[:-1] for choice in chunk["choices"])
    assert text == whole["choices"][0]["text"]
    assert stream[-2]["usage"] == whole["usage"]
    assert stream[-1] == "[DONE]"


def test_every_prompt_has_its_answers_and_is_counted_once(bundle: Bundle) -> None:
    session = Script("y")
    with running(chat_model(bundle, session)) as served:
        answer = complete(served, prompt=["a b c", [1, 2, 3, 4]], n=2, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    lengths = [len(request.prompt_ids) for request in session.requests]
    assert lengths[:2] == [lengths[0]] * 2
    assert lengths[2:] == [4, 4]
    assert session.requests[3].prompt_ids == (1, 2, 3, 4)
    assert answer["usage"]["prompt_tokens"] == lengths[0] + 4
    assert [r.sampling.seed for r in session.requests] == [5, 6, 5, 6]


def test_without_a_number_of_tokens_there_are_sixteen(bundle: Bundle) -> None:
    session = Script("y")
    with running(chat_model(bundle, session)) as served:
        complete(served, prompt="x", max_tokens=None)
    assert session.requests[0].max_new_tokens == 16


def test_a_single_list_of_token_ids_is_one_prompt(bundle: Bundle) -> None:
    session = Script("y")
    with running(chat_model(bundle, session)) as served:
        complete(served, prompt=[7, 8])
    assert [request.prompt_ids for request in session.requests] == [(7, 8)]


def test_a_stop_text_ends_it_and_is_left_out(served: Running) -> None:
    for stop in ("🚀", ["nothing", "🚀"]):
        [choice] = complete(served, prompt="x", stop=stop)["choices"]
        assert choice["text"].endswith("汉")
        assert choice["finish_reason"] == "stop"


def test_log_probabilities_lie_along_the_text(served: Running) -> None:
    [choice] = complete(served, prompt="x", logprobs=1)["choices"]
    told = choice["logprobs"]
    assert len({len(told[name]) for name in told}) == 1
    assert set(told["token_logprobs"]) == {-0.5}
    assert told["text_offset"] == sorted(told["text_offset"])
    assert told["text_offset"][0] == 0
    for token, rivals in zip(told["tokens"], told["top_logprobs"], strict=True):
        assert rivals == {token: -0.5}


def test_streamed_log_probabilities_join_to_the_whole(served: Running) -> None:
    [choice] = complete(served, prompt="x", logprobs=0)["choices"]
    stream = complete(served, prompt="x", logprobs=0, stream=True)
    parts = [c["logprobs"] for chunk in stream[:-1] for c in chunk["choices"] if c["logprobs"]]
    for name, whole in choice["logprobs"].items():
        assert [value for part in parts for value in part[name]] == whole


def test_more_log_probabilities_than_the_runtime_tells_are_refused(served: Running) -> None:
    response = served.http.post(COMPLETION, json={"prompt": "x", "logprobs": 6})
    assert response.status_code == 400
    assert "up to 5" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_is_echoed_before_each_of_its_answers(bundle: Bundle, stream: bool) -> None:
    with running(chat_model(bundle, Script("y"))) as served:
        ids = served.service.model.tokenizer.encode("b c")
        for prompt, text in (("a ", "a y"), (ids, "b cy")):
            found = complete(served, prompt=prompt, echo=True, n=2, stream=stream)
            chunks = found[:-1] if stream else [found]
            for index in (0, 1):
                parts = [c["text"] for k in chunks for c in k["choices"] if c["index"] == index]
                assert "".join(parts) == text


class Seer(Script):
    """Knows of each token of a text that it would come."""

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        logits = np.full((len(token_ids), 1 + max(token_ids)), -99, np.float32)
        logits[np.arange(len(token_ids) - 1), list(token_ids[1:])] = 0
        return logits


@pytest.mark.parametrize("stream", [False, True])
def test_the_log_probabilities_of_an_echo_are_the_prompts_too(bundle: Bundle, stream: bool) -> None:
    with running(chat_model(bundle, Seer("y", logprobs=1))) as served:
        ids = served.service.model.tokenizer.encode("b c d")
        found = complete(served, prompt=ids, echo=True, logprobs=0, stream=stream)
    text, told = joined(found[:-1] if stream else [found])
    assert text == "b c dy"
    assert told["token_logprobs"][0] is told["top_logprobs"][0] is None
    assert told["token_logprobs"][1 : len(ids)] == pytest.approx([0.0] * (len(ids) - 1))
    assert told["token_logprobs"][len(ids)] == -0.5
    assert "".join(told["tokens"][: len(ids)]) == "b c d"
    assert told["text_offset"][len(ids)] == len("b c d")
    assert len({len(values) for values in told.values()}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_without_an_answer_is_the_prompt_alone(bundle: Bundle, stream: bool) -> None:
    session = Seer("y", logprobs=1)
    with running(chat_model(bundle, session)) as served:
        asked = {"prompt": "b c d", "echo": True, "max_tokens": 0, "logprobs": 1}
        found = complete(served, **asked, stream=stream)
        refused = served.http.post(COMPLETION, json=asked | {"echo": False})
    chunks = found[:-1] if stream else [found]
    text, told = joined(chunks)
    assert text == "".join(told["tokens"]) == "b c d"
    assert told["top_logprobs"][1:] == [{token: 0.0} for token in told["tokens"][1:]]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert session.requests == []
    assert refused.status_code == 400
    assert "max_tokens: 0 goes with echo" in refused.json()["error"]["message"]


def joined(chunks: Sequence[Any]) -> tuple[str, dict[str, list[Any]]]:
    """The text of a single answer, whole or in chunks, and its log-probabilities."""
    text, told = "", dict[str, list[Any]]()
    for choice in (each for chunk in chunks for each in chunk["choices"]):
        text += choice["text"]
        for name, values in (choice["logprobs"] or {}).items():
            told.setdefault(name, []).extend(values)
    return text, told
