"""A prompt that begins with a dash: taken as it is, unless it may be an option."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from qdeploy.cli.texts import TextCommand
from tests.support.command import QuickCommand

LENGTH = re.compile(r"(\d+) prompt \+")


def tokens(quick: QuickCommand, *arguments: str) -> int:
    """Number of prompt tokens of an answer."""
    done = quick("run", "bundle", *arguments)
    assert done.code == 0, done.stderr
    match = LENGTH.search(done.stderr)
    assert match
    return int(match[1])


@pytest.mark.usefixtures("bundle")
class TestPrompt:
    @pytest.mark.parametrize(
        "prompt",
        ["-3 + 5?", "-3", "-.5 is what?", "- a list\n- of lines", "-x squared?", "--really now?",
         "---", "-3 -3", "--- yaml ---"],
    )  # fmt: skip
    def test_that_begins_with_a_dash(self, prompt: str, quick: QuickCommand) -> None:
        expected = tokens(quick, "--", prompt)
        assert tokens(quick, prompt) == expected
        assert tokens(quick, prompt, "--seed", "3") == expected
        assert tokens(quick, "--temperature", "0", prompt) == expected

    @pytest.mark.parametrize("prompt", ["--help me", "-verbose", "--seed 3", "-2=x"])
    def test_that_may_be_an_option_goes_after_two_dashes(
        self, prompt: str, quick: QuickCommand
    ) -> None:
        refused = quick("run", "bundle", prompt)
        refused.fails(2, "No such option", "A text that begins with a dash goes last, after --")
        assert tokens(quick, "--", prompt)

    def test_a_misspelt_option_is_still_one(self, quick: QuickCommand) -> None:
        refused = quick("run", "bundle", "hi", "--temprature", "0.5")
        refused.fails(2, "No such option", "--temperature")

    def test_the_value_of_an_option_may_begin_with_a_dash(self, quick: QuickCommand) -> None:
        plain = tokens(quick, "hi")
        assert tokens(quick, "--system", "- be brief", "hi") > plain
        assert tokens(quick, "--system=- be brief", "hi") > plain

    def test_a_shell_can_quote_it(self, quick: QuickCommand) -> None:
        assert tokens(quick, *shlex.split("'-3 + 5?' --top-k 0"))


def test_several_texts_keep_their_order() -> None:
    given: list[tuple[str, ...]] = []

    @click.command(cls=TextCommand)
    @click.argument("texts", nargs=-1)
    @click.option("--many", is_flag=True)
    @click.option("-n", "count", type=int)
    def command(texts: tuple[str, ...], many: bool, count: int | None) -> None:
        given.append((*texts, str(many), str(count)))

    for arguments in (
        ["one", "- two", "--many", "-3", "-n", "-4", "four"],
        ["--many", "-n-4", "one", "--", "- two", "-3", "four"],
    ):
        command.main(arguments, standalone_mode=False)
    assert given == [("one", "- two", "-3", "four", "True", "-4")] * 2
