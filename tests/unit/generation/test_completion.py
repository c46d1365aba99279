"""A plain text continued, over a runtime whose tokens are scripted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.errors import InputError, PromptError
from qdeploy.generation.completion import Completion
from qdeploy.generation.settings import Settings
from tests.support.answers import NANO, script
from tests.support.scripted import ScriptedSession

ASKED = "2 + 2"


def complete(
    session: ScriptedSession,
    prompt: str | Sequence[int] = ASKED,
    *,
    echo: bool = False,
    **settings: Any,
) -> Completion:
    completion = Completion(session, NANO, prompt, Settings(**settings), echo=echo)
    assert "".join(piece.text for piece in completion) == completion.text
    return completion


class Scoring(ScriptedSession):
    """Gives the token with the next id half of the probability at each place."""

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        logits = np.zeros((len(token_ids), self.limits.vocab_size), np.float32)
        logits[np.arange(len(token_ids)), np.array(token_ids) + 1] = math.log(
            self.limits.vocab_size - 1
        )
        return logits


@pytest.mark.parametrize("prompt", [ASKED, NANO.encode(ASKED)], ids=["text", "ids"])
def test_a_text_is_continued_without_a_chat_template(prompt: str | list[int]) -> None:
    session = ScriptedSession(script(" = 4"))
    completion = complete(session, prompt)
    assert (completion.text, completion.finish_reason) == (" = 4", "stop")
    assert session.requests[0].prompt_ids == tuple(NANO.encode(ASKED))
    assert completion.prompt_tokens == len(NANO.encode(ASKED))


def test_tags_are_text_like_any_other() -> None:
    text = "\n\n<think>a</think><tool_call>b</tool_call>\n"
    assert complete(ScriptedSession(script(text))).text == text


def test_it_ends_at_a_stop_text_and_at_the_length() -> None:
    completion = complete(ScriptedSession(script("1 END 2")), stop=("END",))
    assert (completion.text, completion.stop_text) == ("1 ", "END")
    completion = complete(ScriptedSession(script("1234")), max_new_tokens=2)
    assert (completion.text, completion.finish_reason) == ("12", "length")


def test_it_keeps_to_a_schema_from_the_start() -> None:
    session = ScriptedSession(script("{}"), json_schema=True)
    complete(session, json_schema='{"type": "object"}')
    assert session.requests[0].json_schema == '{"type": "object"}'
    with pytest.raises(InputError, match="not an object in JSON"):
        complete(session, json_schema="{")


def test_pieces_hold_the_tokens_of_their_characters() -> None:
    session = ScriptedSession(script("a汉🚀b"), logprobs=2)
    completion = complete(session, logprobs=2)
    tokens = [token for piece in completion.pieces for token in piece.tokens]
    assert [token.id for token in tokens] == NANO.encode("a汉🚀b")
    assert b"".join(NANO.token_text(token.id)[1] for token in tokens).decode() == "a汉🚀b"
    assert {token.logprob for token in tokens} == {-1.0}
    assert all(len(token.most_probable) == 2 for token in tokens)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(PromptError, match="the prompt is empty"):
        complete(ScriptedSession(script("4")), "")
    with pytest.raises(PromptError, match="the prompt is empty"):
        complete(ScriptedSession(script("4")), [])


class TestEcho:
    def test_the_prompt_comes_before_its_continuation(self) -> None:
        completion = complete(ScriptedSession(script(" = 4")), echo=True, stop=("+",))
        assert completion.text == "2 + 2 = 4"
        assert [t.id for t in completion.pieces[0].tokens] == NANO.encode(ASKED)
        assert len(completion.tokens) == len(script(" = 4"))

    def test_its_tokens_have_log_probabilities_but_for_the_first(self) -> None:
        session = Scoring(script("4"), logprobs=1, vocab_size=NANO.vocab_size)
        ids = [10, 11, 20]
        completion = complete(session, ids, echo=True, logprobs=1, max_new_tokens=0)
        first, second, third = completion.pieces[0].tokens
        assert (first.logprob, first.most_probable) == (None, ())
        assert second.logprob == pytest.approx(math.log(0.5))
        assert second.most_probable == ((11, second.logprob),)
        others = session.limits.vocab_size - 1
        assert third.logprob == pytest.approx(math.log(0.5 / others))
        assert completion.tokens == []
        assert session.requests == []

    def test_logits_that_take_too_much_memory_are_refused(self) -> None:
        session = ScriptedSession(script("4"), logprobs=0, vocab_size=2**28)
        with pytest.raises(PromptError, match="log-probabilities are asked for of a prompt"):
            complete(session, [1, 2, 3], echo=True, logprobs=0)
