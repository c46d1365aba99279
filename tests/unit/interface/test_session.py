"""What the base class of sessions checks and bounds for every backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qdeploy.errors import GenerationFailed, InputError, PromptError
from qdeploy.interface import Limits, Request
from tests.support.scripted import ScriptedSession

CONTEXT, VOCABULARY = 20, 100


def session(*answer: int, **limits: int) -> ScriptedSession:
    return ScriptedSession(answer, context=CONTEXT, vocab_size=VOCABULARY, **limits)  # type: ignore[arg-type]


def ids(made: ScriptedSession, request: Request) -> list[int]:
    return [token.id for token in made.generate(request)]


def test_an_answer_ends_with_the_context() -> None:
    made = session(*range(50))
    assert ids(made, Request((1, 2, 3), 1000)) == [*range(CONTEXT - 3)]
    assert made.requests[0].max_new_tokens == CONTEXT - 3


def test_an_answer_ends_after_a_stop_token() -> None:
    made = session(5, 6, 7, 8)
    assert ids(made, Request((1,), 10, stop_ids=frozenset({7}))) == [5, 6, 7]
    assert made.closed_early == 0


@pytest.mark.parametrize("stop", [-1, VOCABULARY, 10**30])
def test_a_stop_token_that_no_model_knows_is_refused_before_the_first_token(stop: int) -> None:
    made = session(5)
    with pytest.raises(InputError, match=f"stop token {stop} is outside"):
        made.generate(Request((1,), 10, stop_ids=frozenset({7, stop})))
    assert made.requests == []


@pytest.mark.parametrize("most", [0, -1])
def test_no_tokens_are_no_work(most: int) -> None:
    made = session(5)
    assert ids(made, Request((1,), most)) == []
    assert made.requests == []


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ((), "the prompt is empty"),
        ((1, VOCABULARY), f"token id {VOCABULARY} is outside the model's vocabulary of"),
        ((1, -1), "token id -1 is outside"),
        ((1,) * CONTEXT, f"has {CONTEXT} tokens; the session holds {CONTEXT}, answer included"),
    ],
)
def test_a_prompt_that_it_cannot_take_is_refused_before_the_first_token(
    prompt: tuple[int, ...], says: str
) -> None:
    made = session(5)
    with pytest.raises(PromptError, match=says):
        made.generate(Request(prompt, 1))
    with pytest.raises(PromptError, match=says):
        made.check_prompt(prompt)
    assert made.requests == []


def test_prompts_may_be_shorter_than_the_context() -> None:
    made = session(5, prompt_limit=4)
    assert (made.context, made.prompt_limit) == (CONTEXT, 4)
    made.check_prompt([1] * 4)
    with pytest.raises(PromptError, match="takes a prompt of 4"):
        made.check_prompt([1] * 5)


def test_a_setting_of_the_profile_and_a_shortest_prompt_are_named() -> None:
    made = session()
    made._limits = Limits(CONTEXT, VOCABULARY, prompt=4, shortest_prompt=2, prompt_setting="LEN")
    with pytest.raises(PromptError) as caught:
        made.check_prompt([1] * 5)
    assert "raise LEN in the profile" in (caught.value.fix or "")
    with pytest.raises(PromptError, match="SCRIPT takes 2 or more"):
        made.check_prompt([1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ([], "the prompt is empty"),
        ([VOCABULARY], "outside the model's vocabulary"),
        ([1] * (CONTEXT + 1), f"{CONTEXT + 1} tokens to score; the session holds {CONTEXT}"),
    ],
)
def test_a_text_that_it_cannot_score_is_refused(text: list[int], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        session().score(text)


def test_a_whole_context_can_be_scored() -> None:
    assert len(session().score([1] * CONTEXT)) == CONTEXT


def test_a_second_request_is_refused_until_the_first_is_closed() -> None:
    made = session(*range(9))
    first = made.generate(Request((1,), 9))
    next(first)
    second = made.generate(Request((1,), 9))
    calls: tuple[Callable[[], object], ...] = (lambda: next(second), lambda: made.score([1]))
    for call in calls:
        with pytest.raises(GenerationFailed, match="still generating") as caught:
            call()
        assert caught.value.fix == "close that request's generator first"
    assert next(first).id == 1
    first.close()
    assert made.closed_early == 1
    assert len(ids(made, Request((1,), 9))) == 9


def test_a_closed_session_does_nothing_more() -> None:
    made = session(*range(9))
    waiting = made.generate(Request((1,), 9))
    with made:
        pass
    made.close()
    calls: tuple[Callable[[], object], ...] = (
        lambda: made.generate(Request((1,), 9)), lambda: next(waiting), lambda: made.score([1]),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(GenerationFailed, match="the session is closed"):
            call()
    assert made.requests == []


def test_closing_while_an_answer_is_made_ends_it_with_an_error() -> None:
    made = session(*range(9))
    stream = made.generate(Request((1,), 9))
    next(stream)
    made.close()
    with pytest.raises(GenerationFailed, match="closed while it was generating"):
        next(stream)
    assert made.closed_early == 1
