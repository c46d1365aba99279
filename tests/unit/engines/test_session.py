"""A session over an engine: what it asks for, what it makes of the answer, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from qdeploy.engines import scoring
from qdeploy.engines.client import EngineClient
from qdeploy.engines.session import EngineSession
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Limits, Placement, Request, Sampling
from qdeploy.targets import Evidence
from tests.support.stub_engine import StubEngine, choice, stream, tokens, told

COMPLETIONS = "/v1/completions"
VOCABULARY = 8
WISH = Request((1, 2), 5, stop_ids=frozenset({7}))


@pytest.fixture
def session(stub: StubEngine) -> Iterator[EngineSession]:
    limits = Limits(16, VOCABULARY, concurrency=4, logprobs=5, json_schema=True)
    placement = Placement(("stub",), Evidence.CONTRACT, "it was written down")
    with EngineSession(
        EngineClient(stub.url), limits, model="m", device="stub", placement=lambda: placement
    ) as made:
        yield made


def logprobs(*rows: tuple[float, dict[int, float]]) -> dict[str, Any]:
    """Log-probabilities as vLLM spells them, the drawn token's first."""
    return {
        "token_logprobs": [chosen for chosen, _ in rows],
        "top_logprobs": [{f"token_id:{i}": p for i, p in top.items()} for _, top in rows],
    }


def test_the_engine_gets_ids_and_every_setting(stub: StubEngine, session: EngineSession) -> None:
    told_of = logprobs((-1.0, {7: -1.0}))
    stub.replies[COMPLETIONS] = stream([choice(token_ids=[7], logprobs=told_of)], finish="stop")
    sampling = Sampling(0.5, 0.9, 20, 3, 0.1, 1.1, 1.5, -0.5)
    list(session.generate(Request((1, 2), 5, sampling, frozenset({7, 6}), 2, '{"a": 1}')))
    schema = {"name": "answer", "schema": {"a": 1}, "strict": True}
    assert stub.bodies(COMPLETIONS) == [
        {
            "model": "m",
            "prompt": [1, 2],
            "max_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 20,
            "seed": 3,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "presence_penalty": 1.5,
            "frequency_penalty": -0.5,
            "stop_token_ids": [6, 7],
            "ignore_eos": True,
            "return_token_ids": True,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "logprobs": 2,
            "return_tokens_as_token_ids": True,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_tokens_come_as_the_engine_makes_them(stub: StubEngine, session: EngineSession) -> None:
    events = [choice(token_ids=[3, 4], prompt_token_ids=[1, 2]), choice(token_ids=[]), choice()]
    stub.replies[COMPLETIONS] = stream([*events, choice(token_ids=[7])], finish="stop")
    made = list(session.generate(WISH))
    assert [token.id for token in made] == [3, 4, 7]
    assert made[0].timestamp == made[1].timestamp <= made[2].timestamp
    assert made[0].logprob is None


def test_the_drawn_token_is_told_besides_the_most_probable(
    stub: StubEngine, session: EngineSession
) -> None:
    told_of = logprobs((-3.0, {5: -3.0, 1: -0.5, 2: -1.0}), (-0.5, {1: -0.5, 2: -1.0}))
    stub.replies[COMPLETIONS] = stream(
        [choice(token_ids=[5, 1], logprobs=told_of)], finish="length"
    )
    drawn, likely = session.generate(Request((1,), 5, logprobs=2))
    assert (drawn.logprob, drawn.most_probable) == (-3.0, ((1, -0.5), (2, -1.0)))
    assert (likely.logprob, likely.most_probable) == (-0.5, ((1, -0.5), (2, -1.0)))


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([choice(text="hello")], "tells no token ids"),
        ([choice(token_ids=[3], prompt_token_ids=[1, 2, 2])], "took other tokens"),
        ([choice(token_ids=[VOCABULARY])], "outside the vocabulary"),
        ([choice(token_ids=[1] * 6)], "more tokens than"),
    ],
)
def test_an_engine_that_is_not_one_for_token_ids_is_refused(
    stub: StubEngine, session: EngineSession, events: list[object], words: str
) -> None:
    stub.replies[COMPLETIONS] = stream(events, finish="stop")
    with pytest.raises(GenerationFailed, match=words):
        list(session.generate(WISH))
    stub.replies[COMPLETIONS] = tokens(7)
    assert [token.id for token in session.generate(WISH)] == [7], "the session is left ready"


def test_a_missing_logprob_is_refused(stub: StubEngine, session: EngineSession) -> None:
    stub.replies[COMPLETIONS] = tokens(7)
    with pytest.raises(GenerationFailed, match="no log-probability"):
        list(session.generate(Request((1,), 5, logprobs=0)))


ROWS = np.log(np.random.default_rng(0).dirichlet(np.ones(VOCABULARY), 3)).astype(np.float32)


def last_row(row: int) -> dict[str, Any]:
    """The place after the prompt, as the first new token has it."""
    return logprobs((-1.0, dict(enumerate(map(float, ROWS[row])))))


def test_rows_of_a_small_vocabulary_come_in_one_answer(
    stub: StubEngine, session: EngineSession
) -> None:
    places = [{str(i): {"logprob": float(p), "rank": 1} for i, p in enumerate(r)} for r in ROWS[:2]]
    stub.replies[COMPLETIONS] = told(choice(logprobs=last_row(2), prompt_logprobs=[None, *places]))
    np.testing.assert_array_equal(session.score([1, 2, 3]), ROWS)
    (asked,) = stub.bodies(COMPLETIONS)
    assert (asked["prompt"], asked["prompt_logprobs"], asked["logprobs"]) == ([1, 2, 3], -1, -1)


def test_rows_of_a_large_one_come_one_by_one(
    stub: StubEngine, session: EngineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "AT_ONCE", 3 * VOCABULARY - 1)
    stub.replies[COMPLETIONS] = [told(choice(logprobs=last_row(i))) for i in range(3)]
    np.testing.assert_array_equal(session.score([1, 2, 3]), ROWS)
    asked = stub.bodies(COMPLETIONS)
    assert [each["prompt"] for each in asked] == [[1], [1, 2], [1, 2, 3]]
    assert not any("prompt_logprobs" in each for each in asked)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (choice(logprobs=logprobs((-1.0, {1: -1.0}))), "of 1 tokens of 8"),
        (choice(), "no log-probabilities"),
        ({"choices": []}, "no log-probabilities"),
        (choice(logprobs=logprobs((-1.0, dict.fromkeys(range(1, 9), -1.0)))), "of token"),
        (choice(logprobs={"top_logprobs": [None]}), "of other than 1 places"),
    ],
)
def test_rows_that_are_not_whole_are_refused(
    stub: StubEngine, session: EngineSession, found: object, words: str
) -> None:
    stub.replies[COMPLETIONS] = told(found)
    with pytest.raises(GenerationFailed, match=words):
        session.score([1])


def test_the_placement_is_the_engines_word(session: EngineSession) -> None:
    assert session.placement().devices == ("stub",)
