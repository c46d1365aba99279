"""Texts that end an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qdeploy.errors import InputError
from qdeploy.generation.generate import Generation
from qdeploy.generation.reading.spans import Span
from qdeploy.generation.reading.stop_texts import StopTexts
from tests.support.answers import NANO, answer, joined, script
from tests.support.scripted import ScriptedSession
from tests.support.tools import TOOLS, call


def answered(text: str, *stop: str, **settings: Any) -> Generation:
    generation, pieces = answer(ScriptedSession(script(text)), stop=stop, **settings)
    assert joined(pieces, "content") == generation.text
    return generation


class TestAnswer:
    @pytest.mark.parametrize("stop", ["5", "56", "4567", " 9", "7 8 9"])
    def test_it_ends_before_the_text_wherever_tokens_cut_it(self, stop: str) -> None:
        generation = answered("123 4567 8 9", stop)
        assert generation.text == "123 4567 8 9".partition(stop)[0]
        assert (generation.finish_reason, generation.stop_text) == ("stop", stop)

    def test_the_runtime_is_stopped(self) -> None:
        session = ScriptedSession(script("1 END 2"))
        generation, _ = answer(session, stop=("END",))
        assert session.closed_early == 1
        assert len(generation.tokens) < len(script("1 END 2"))

    def test_what_might_have_become_one_is_not_lost(self) -> None:
        assert answered("so EN", "END").text == "so EN"
        generation, _ = answer(ScriptedSession(script("EN")), stop=("END",), max_new_tokens=2)
        assert (generation.text, generation.finish_reason) == ("EN", "length")

    def test_in_the_thinking_and_in_calls_it_ends_nothing(self) -> None:
        text = f"<think>\nEND\n</think>\n\nso\n{call('say', text='END')}\nEND."
        generation = answered(text, "END", tools=TOOLS)
        assert (generation.thinking, generation.text) == ("END", "so")
        assert len(generation.tool_calls) == 1
        assert generation.stop_text == "END"

    def test_blank_lines_behind_the_thinking_are_none(self) -> None:
        generation = answered("<think>\nHm.\n</think>\n\n1\n\n2", "\n\n")
        assert generation.text == "1"

    def test_half_a_text_before_a_call_is_content(self) -> None:
        generation = answered(f"EN{call()}D", "END", tools=TOOLS)
        assert (generation.text, generation.stop_text) == ("END", None)

    def test_an_empty_one_is_refused(self) -> None:
        with pytest.raises(InputError, match="a stop text is empty"):
            answered("1", "")

    def test_the_tokens_of_a_stop_text_belong_to_no_piece(self) -> None:
        _, pieces = answer(ScriptedSession(script("12 END 3")), stop=(" END",))
        assert [t.id for p in pieces for t in p.tokens] == NANO.encode("12")


def reference(text: str, stops: list[str]) -> str:
    """Cut *text* at the first character that completes a stop text."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(
    st.lists(st.text("ab", max_size=4)),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
@example(["ab", "c"], ["abc", "b"])
def test_cuts_change_nothing(parts: list[str], stops: list[str]) -> None:
    reader, shown, place = StopTexts(stops), "", 0
    for part in parts:
        shown += reader.push(Span(part, place)).text
        place += len(part)
        if reader.found is not None:
            break
    else:
        shown += (reader.flush() or Span("", 0)).text
    assert shown == reference("".join(parts), stops)
