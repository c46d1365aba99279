"""A chat: `qdeploy run BUNDLE` on a terminal."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import scripted_bundle
from tests.support.command import Command
from tests.support.real import NEEDS_RUNTIME

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)

from tests.support.terminal import END, INTERRUPT, Terminal, terminal

PROMPT_TOKENS = re.compile(r"(\d+) prompt \+")


class TestChat:
    @pytest.fixture
    def chat(self, bundle: Path, qdeploy: Command) -> Iterator[Terminal]:
        with terminal(qdeploy, "run", bundle, "--context", "200") as begun:
            assert "/exit leaves" in begun.until("> ")
            yield begun

    def ask(self, chat: Terminal, question: str) -> int:
        """Ask, wait for the whole turn, and return the number of prompt tokens."""
        chat.type(question + "\n")
        chat.until("4 汉🚀")
        found = PROMPT_TOKENS.search(chat.until("> "))
        assert found is not None
        return int(found[1])

    def test_remembers_and_forgets(self, chat: Terminal) -> None:
        first = self.ask(chat, "2 + 2?")
        second = self.ask(chat, "2 + 2?")
        assert second > first
        chat.type("/clear\n")
        chat.until("> ")
        assert self.ask(chat, "2 + 2?") == first

    def test_a_system_prompt_stays_through_turns_and_clearing(
        self, bundle: Path, qdeploy: Command, chat: Terminal
    ) -> None:
        plain = self.ask(chat, "2 + 2?")
        with terminal(qdeploy, "run", bundle, "--system", "Be brief.") as ruled:
            ruled.until("> ")
            first, second = self.ask(ruled, "2 + 2?"), self.ask(ruled, "2 + 2?")
            ruled.type("/clear\n")
            ruled.until("> ")
            assert plain < first < second
            assert self.ask(ruled, "2 + 2?") == first

    @pytest.mark.parametrize("leave", ["/exit\n", END])
    def test_is_left_by_command_or_end_of_input(self, leave: str, chat: Terminal) -> None:
        chat.type(leave)
        assert chat.rest()[0] == 0

    def test_ctrl_c_at_the_prompt_explains_and_goes_on(self, chat: Terminal) -> None:
        time.sleep(0.5)  # the prompt appears a moment before Python reads the line
        chat.type(INTERRUPT)
        assert "/exit leaves" in chat.until("> ")
        self.ask(chat, "2 + 2?")

    def test_an_unknown_command_is_not_sent_to_the_model(self, chat: Terminal) -> None:
        chat.type("/help\n")
        shown = chat.until("> ")
        assert "/exit leaves" in shown
        assert "prompt +" not in shown

    @pytest.mark.parametrize("line", ["/etc/hosts?", "/2 + 2", "/exit is a word", "/think 2 + 2?"])
    def test_a_line_that_begins_with_a_slash_may_be_a_question(
        self, line: str, chat: Terminal
    ) -> None:
        assert self.ask(chat, line) > 0

    def test_a_word_with_a_slash_is_sent_as_the_help_says(self, chat: Terminal) -> None:
        chat.type("/exti\n")
        assert "to send /exti to the model, begin with a space" in chat.until("> ")
        assert self.ask(chat, " /exti") > 0
        assert self.ask(chat, " /exit") > 0

    def test_a_line_that_is_not_text_is_refused_and_the_chat_goes_on(self, chat: Terminal) -> None:
        chat.type(os.fsdecode(b"\xff\xfe\n"))
        assert "error: that line is not UTF-8 text" in chat.until("text\r\n> ")
        self.ask(chat, "2 + 2?")

    def test_a_turn_that_does_not_fit_is_refused_and_forgotten(self, chat: Terminal) -> None:
        first = self.ask(chat, "2 + 2?")
        chat.type("very " * 100 + "long\n")
        assert "the session holds 200" in chat.until("> ")
        chat.type("/clear\n")
        chat.until("> ")
        assert self.ask(chat, "2 + 2?") == first


def test_ctrl_c_stops_the_answer_and_not_the_chat(qdeploy: Command, here: Path) -> None:
    counting = scripted_bundle(here / "counting", answer="1234567890" * 20, delay=0.05).path
    with terminal(qdeploy, "run", counting) as chat:
        chat.until("> ")
        for _ in range(2):
            chat.type("count\n")
            chat.until("123")
            chat.type(INTERRUPT)
            assert "stopped" in chat.until("> ")
        chat.type("/exit\n")
        assert chat.rest()[0] == 0


@pytest.mark.slow
@NEEDS_RUNTIME
def test_a_real_chat_remembers_until_told_to_forget(qdeploy: Command, nano_bundle: Path) -> None:
    with terminal(qdeploy, "run", nano_bundle, "--no-think", "--temperature", "0") as chat:
        chat.until("> ")
        chat.type("My name is Ann.\n")
        chat.until("tok/s")
        chat.type("What is my name?\n")
        assert "Ann" in chat.until("tok/s")
        chat.type("/clear\n")
        chat.type("What is my name?\n")
        assert "Ann" not in chat.until("tok/s")
