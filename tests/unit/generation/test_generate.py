"""One answer being made, over a runtime whose tokens are scripted."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from qdeploy.architectures.qwen3 import RECOMMENDED
from qdeploy.errors import InputError, PromptError
from qdeploy.generation.generate import Generation
from qdeploy.generation.settings import Settings
from qdeploy.interface import Sampling
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import (
    EARLY_STOP,
    EARLY_STOP_SHOWN,
    NANO,
    PROMPT,
    QUESTION,
    STOP,
    THOUGHT,
    always_thinking,
    answer,
    joined,
    script,
    thoughts,
)
from tests.support.scripted import ScriptedSession


def with_settings(folder: Path, **settings: int) -> Tokenizer:
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return Tokenizer(folder)


class TestChannels:
    def test_thinking_and_answer_are_told_apart_without_their_tags(self) -> None:
        generation, pieces = answer(ScriptedSession(script(THOUGHT)))
        assert generation.thinking == "Two and two."
        assert generation.text == "4"
        assert joined(pieces, "reasoning") == generation.thinking
        assert joined(pieces, "content") == generation.text
        assert generation.finish_reason == "stop"

    def test_thinking_comes_before_the_answer(self) -> None:
        _, pieces = answer(ScriptedSession(script(THOUGHT)))
        assert [k for k, _ in itertools.groupby(p.channel for p in pieces)] == [
            "reasoning", "content",
        ]  # fmt: skip

    def test_blank_lines_around_the_tags_are_not_shown(self) -> None:
        generation, _ = answer(
            ScriptedSession(script("<think>\n\nx\n\ny\n\n</think>\n\n\n4\n\n5\n"))
        )
        assert (generation.thinking, generation.text) == ("x\n\ny", "4\n\n5\n")

    def test_a_model_that_does_not_think_only_answers(self) -> None:
        generation, _ = answer(ScriptedSession(script("4")), thinking=False)
        assert (generation.thinking, generation.text) == ("", "4")

    def test_a_template_that_opens_the_thinking_is_followed(self, tmp_path: Path) -> None:
        """As that of Qwen3-*-Thinking-2507: the model's first token is thinking already."""
        generation, _ = answer(
            ScriptedSession(script("Two.</think>4")), tokenizer=always_thinking(tmp_path)
        )
        assert (generation.thinking, generation.text) == ("Two.", "4")

    def test_the_stop_token_is_counted_and_not_shown(self) -> None:
        generation, _ = answer(ScriptedSession(script("4")))
        assert generation.tokens[-1].id == STOP[0]
        assert generation.tokens[-1].text == ""
        assert generation.text == "4"

    def test_a_tag_in_the_question_opens_no_thinking(self) -> None:
        question = [{"role": "user", "content": "What does <think> mean?"}]
        session = ScriptedSession(script("A tag."))
        generation = Generation(session, NANO, question, Settings(thinking=True))
        assert {piece.channel for piece in generation} == {"content"}

    def test_characters_that_span_tokens_come_whole(self) -> None:
        _, pieces = answer(ScriptedSession(script("<think>汉字🚀</think>🎉é")))
        assert joined(pieces, "reasoning") == "汉字🚀"
        assert joined(pieces, "content") == "🎉é"
        assert not [p for p in pieces if "\ufffd" in p.text]

    def test_a_character_cut_by_the_end_is_shown_as_the_replacement(self) -> None:
        generation, _ = answer(ScriptedSession([*NANO.encode("🚀")[:-1], *STOP]))
        assert generation.text == "\ufffd"

    def test_a_character_cut_by_the_length_is_shown_as_the_replacement(self) -> None:
        generation, _ = answer(ScriptedSession(script("🚀")), max_new_tokens=2)
        assert (generation.text, generation.finish_reason) == ("\ufffd", "length")

    def test_every_token_carries_the_text_that_it_completed(self) -> None:
        generation, _ = answer(ScriptedSession(script("a汉b")))
        assert "".join(t.text for t in generation.tokens) == "a汉b"


class TestLength:
    def test_max_new_tokens_may_cut_within_thinking(self) -> None:
        generation, _ = answer(ScriptedSession(script(THOUGHT)), max_new_tokens=3)
        assert len(generation.tokens) == 3
        assert (generation.finish_reason, generation.text) == ("length", "")

    def test_max_new_tokens_holds_over_a_thinking_budget_too(self) -> None:
        session = ScriptedSession(thoughts(20), script("4444444444"))
        generation, _ = answer(session, thinking_budget=3, max_new_tokens=8)
        assert len(generation.tokens) == 8
        assert (generation.finish_reason, generation.text) == ("length", "4444")

    def test_an_answer_never_outgrows_the_context(self) -> None:
        session = ScriptedSession(script("1" * 100), context=PROMPT + 7)
        generation, _ = answer(session, max_new_tokens=50)
        assert len(generation.tokens) == 7
        assert session.requests[0].max_new_tokens == 7
        assert generation.finish_reason == "length"

    @pytest.mark.parametrize(("budget", "most"), [(0, 1), (5, 6)])
    def test_without_a_token_left_for_the_answer_thinking_is_cut_and_not_ended(
        self, budget: int, most: int
    ) -> None:
        session = ScriptedSession(thoughts(50), script("4"))
        generation, _ = answer(session, thinking_budget=budget, max_new_tokens=most)
        assert (generation.finish_reason, generation.text) == ("length", "")
        assert generation.thinking == "1" * budget
        assert len(session.requests) == 1

    @pytest.mark.parametrize("spare", [1, 4])
    def test_thinking_ends_where_its_continuation_is_the_longest_prompt(self, spare: int) -> None:
        limit = PROMPT + spare + len(NANO.encode(EARLY_STOP))
        session = ScriptedSession(thoughts(50), script("4"), prompt_limit=limit)
        generation, _ = answer(session, thinking_budget=20)
        assert generation.thinking.partition(EARLY_STOP_SHOWN)[0].strip() == "1" * (spare - 1)
        assert (generation.finish_reason, generation.text) == ("stop", "4")
        assert [len(r.prompt_ids) for r in session.requests] == [PROMPT, limit]

    def test_thinking_that_begins_too_late_to_be_ended_is_cut(self) -> None:
        limit = PROMPT + 1 + len(NANO.encode(EARLY_STOP))
        session = ScriptedSession([*NANO.encode("222"), *thoughts(50)], prompt_limit=limit)
        generation, _ = answer(session, thinking_budget=20)
        assert (generation.finish_reason, generation.text) == ("length", "222")

    def test_a_budget_that_could_not_be_kept_is_refused_before_any_work(self) -> None:
        session = ScriptedSession(thoughts(50), prompt_limit=PROMPT + 5)
        with pytest.raises(PromptError, match="thinking budget") as caught:
            Generation(session, NANO, QUESTION, Settings(thinking_budget=20))
        assert "--context" in (caught.value.fix or "")
        assert session.requests == []
        answer(session)

    @pytest.mark.parametrize(
        "room",
        [{"context": PROMPT}, {"context": PROMPT - 5}, {"prompt_limit": PROMPT - 1}],
        ids=str,
    )
    def test_a_prompt_that_is_too_long_is_refused_before_any_work(
        self, room: dict[str, int]
    ) -> None:
        session = ScriptedSession(script("4"), **room)  # type: ignore[arg-type]
        with pytest.raises(PromptError, match=f"the prompt has {PROMPT} tokens") as caught:
            Generation(session, NANO, QUESTION, Settings())
        assert "--context" in (caught.value.fix or "")
        assert session.requests == []

    def test_a_runtime_that_ends_without_a_stop_token_ran_out_of_length(self) -> None:
        generation, _ = answer(ScriptedSession(NANO.encode("4")))
        assert (generation.text, generation.finish_reason) == ("4", "length")


class TestClosing:
    def test_closing_early_stops_the_runtime_and_keeps_what_came(self) -> None:
        session = ScriptedSession(script("1234567"))
        generation = Generation(session, NANO, QUESTION, Settings())
        stream = iter(generation)
        first = [next(stream).text, next(stream).text]
        stream.close()
        assert session.closed_early == 1
        assert generation.text == "".join(first) == "12"
        assert generation.finish_reason == "cancelled"
        assert len(generation.tokens) == 2

    def test_an_interrupt_stops_the_runtime_too(self) -> None:
        session = ScriptedSession(script("1234567"))
        stream = iter(Generation(session, NANO, QUESTION, Settings()))
        next(stream)
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
        assert session.closed_early == 1

    def test_a_session_answers_again_after_an_answer_was_stopped(self) -> None:
        session = ScriptedSession(script("123"), script("4"))
        stream = iter(Generation(session, NANO, QUESTION, Settings()))
        next(stream)
        stream.close()
        generation, _ = answer(session)
        assert generation.text == "4"


class TestRequest:
    @pytest.mark.parametrize(
        ("thinking", "mode"), [(None, "reasoning"), (True, "reasoning"), (False, "content")]
    )
    def test_each_mode_has_its_recommended_sampling(self, thinking: bool | None, mode: str) -> None:
        session = ScriptedSession(script("4"))
        generation, _ = answer(session, thinking=thinking)
        recommended = Sampling(*getattr(RECOMMENDED, mode))
        assert generation.sampling == recommended
        assert session.requests[0].sampling == recommended

    def test_what_the_user_asks_for_goes_to_the_runtime(self) -> None:
        session = ScriptedSession(script("4"))
        answer(session, sampling=Sampling(temperature=0.1, top_k=5), seed=7, max_new_tokens=9)
        [request] = session.requests
        assert request.sampling == Sampling(temperature=0.1, top_k=5, seed=7)
        assert request.max_new_tokens == 9
        assert request.stop_ids == NANO.stop_ids

    @pytest.mark.parametrize(
        ("settings", "asked", "most"),
        [
            ({"max_new_tokens": 7}, None, 7),
            ({"max_new_tokens": 7, "max_length": PROMPT + 3}, None, 7),
            ({"max_length": PROMPT + 3}, None, 3),
            ({"max_new_tokens": 7, "max_length": 9}, 100, 100),
            ({}, None, 4096 - PROMPT),
        ],
        ids=str,
    )
    def test_the_length_is_the_models_unless_it_is_given(
        self, settings: dict[str, int], asked: int | None, most: int, tmp_path: Path
    ) -> None:
        session = ScriptedSession(script("4"))
        answer(session, tokenizer=with_settings(tmp_path, **settings), max_new_tokens=asked)
        assert session.requests[0].max_new_tokens == most

    def test_a_prompt_over_the_models_own_length_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PromptError, match=f"the prompt has {PROMPT} tokens, and max_length"):
            answer(
                ScriptedSession(script("4")), tokenizer=with_settings(tmp_path, max_length=PROMPT)
            )

    def test_the_prompt_is_the_rendered_chat(self) -> None:
        session = ScriptedSession(script("4"))
        generation, _ = answer(session, thinking=False)
        assert NANO.encode(NANO.render(QUESTION, thinking=False)) == list(
            session.requests[0].prompt_ids
        )
        assert generation.prompt_tokens == len(session.requests[0].prompt_ids)

    @pytest.mark.parametrize("thinking", [True, False])
    def test_a_model_without_a_switch_cannot_be_told_to_think_or_not(
        self, thinking: bool, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="has no thinking switch"):
            answer(
                ScriptedSession(script("4")), tokenizer=always_thinking(tmp_path), thinking=thinking
            )


def test_ttft_is_counted_from_the_first_piece_asked_for() -> None:
    generation, _ = answer(ScriptedSession(script("1234"), delay=0.002))
    assert generation.timing.ttft_ms is not None
    assert generation.timing.ttft_ms >= 2
    assert len(generation.timing.inter_token_latencies_ms()) == 4
