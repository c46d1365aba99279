"""A thinking budget: where thinking ends, and what follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.answers import (
    EARLY_STOP,
    EARLY_STOP_SHOWN,
    NANO,
    THOUGHT,
    always_thinking,
    answer,
    joined,
    script,
    thoughts,
)
from tests.support.scripted import ScriptedSession


class TestBudget:
    @pytest.mark.parametrize("budget", [0, 1, 5])
    def test_thinking_stops_at_the_budget_and_an_answer_follows(self, budget: int) -> None:
        session = ScriptedSession(thoughts(20) + script("</think>never"), script("4"))
        generation, _ = answer(session, thinking_budget=budget)
        own, _, rest = generation.thinking.partition(EARLY_STOP_SHOWN)
        assert own.strip() == "1" * budget
        assert rest == ""
        assert generation.text == "4"
        assert generation.finish_reason == "stop"

    def test_a_budget_of_none_is_kept_where_the_template_opens_the_thinking(
        self, tmp_path: Path
    ) -> None:
        session = ScriptedSession(script("4"))
        generation, _ = answer(session, tokenizer=always_thinking(tmp_path), thinking_budget=0)
        assert generation.thinking == EARLY_STOP_SHOWN
        assert generation.text == "4"

    def test_the_model_goes_on_after_its_own_tokens_and_the_early_stop(self) -> None:
        session = ScriptedSession(thoughts(20), script("4"))
        answer(session, thinking_budget=3)
        first, second = session.requests
        assert list(second.prompt_ids) == [
            *first.prompt_ids, *thoughts(3), *NANO.encode(EARLY_STOP),
        ]  # fmt: skip

    def test_a_family_without_a_sentence_ends_thinking_with_the_tag(self, tmp_path: Path) -> None:
        tokenizer = always_thinking(tmp_path)
        (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
        session = ScriptedSession(NANO.encode("1") * 20, script("4"))
        generation, _ = answer(session, tokenizer=tokenizer, thinking_budget=3)
        assert (generation.thinking, generation.text) == ("111", "4")
        first, second = session.requests
        ending = NANO.encode("\n</think>\n\n")
        assert list(second.prompt_ids) == [*first.prompt_ids, *NANO.encode("1") * 3, *ending]

    def test_the_first_request_is_stopped_before_the_second_begins(self) -> None:
        session = ScriptedSession(thoughts(20), script("4"))
        answer(session, thinking_budget=3)
        assert session.closed_early == 1

    def test_the_early_stop_is_neither_generated_nor_timed(self) -> None:
        session = ScriptedSession(thoughts(20), script("4"))
        generation, _ = answer(session, thinking_budget=3)
        assert [t.id for t in generation.tokens] == thoughts(3) + script("4")
        assert generation.timing.resumed == {4}
        assert len(generation.timing.inter_token_latencies_ms()) == len(generation.tokens) - 2

    @pytest.mark.parametrize("budget", [100, 4096])
    def test_thinking_within_the_budget_is_left_alone(self, budget: int) -> None:
        session = ScriptedSession(script(THOUGHT))
        generation, _ = answer(session, thinking_budget=budget)
        assert EARLY_STOP_SHOWN not in generation.thinking
        assert generation.text == "4"
        assert len(session.requests) == 1

    def test_an_answer_without_thinking_is_left_alone(self) -> None:
        session = ScriptedSession(script("4"))
        generation, _ = answer(session, thinking_budget=0)
        assert (generation.thinking, generation.text) == ("", "4")
        assert len(session.requests) == 1

    def test_only_thinking_counts_against_the_budget(self) -> None:
        session = ScriptedSession(script("<think>1</think>" + "2" * 50))
        generation, _ = answer(session, thinking_budget=10)
        assert generation.text == "2" * 50

    def test_no_thinking_begins_again_after_the_early_stop(self) -> None:
        session = ScriptedSession(thoughts(20), script("4"))
        _, pieces = answer(session, thinking_budget=3)
        assert joined(pieces, "content") == "4"
        assert pieces[-1].channel == "content"
