"""A chat on the terminal. Ctrl-C stops the answer, not the program."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import click

from qdeploy.errors import PromptError

Say = Callable[[list[dict[str, str]]], str]
"""Answers a chat on the terminal, statistics included, and returns the text of the answer."""

HELP = "/exit leaves, /clear forgets the conversation, Ctrl-C stops an answer"
TO_THE_MODEL = ("/think", "/no_think")
"""Words that Qwen3 reads as switches."""
COMMAND = re.compile(r"/[A-Za-z?_]*")
"""A line that is one word with a slash is meant for the program; `/etc/hosts?` is not."""


def loop(title: str, say: Say) -> None:
    """Read turns until /exit or the end of input, with the conversation so far as context.

    The *title* says with whom.

    The history holds answers without their thinking, as in the chats that Qwen3 is trained on.
    """
    with contextlib.suppress(ImportError):  # line editing and history, where Python has it
        import readline  # noqa: F401
    click.secho(f"{title}. {HELP}", dim=True, err=True)
    messages: list[dict[str, str]] = []
    while True:
        try:
            line = input("> ").rstrip()
            line.encode()  # in some locales Python decodes any byte, as a lone surrogate
        except UnicodeError:
            click.echo("error: that line is not UTF-8 text", err=True)
            continue
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.secho(f"\n{HELP}", dim=True, err=True)
            continue
        text = line.lstrip()
        if line == "/exit":
            return
        if line == "/clear":
            messages.clear()
        elif COMMAND.fullmatch(line) and line not in TO_THE_MODEL:
            how = f"{HELP}; to send {line} to the model, begin with a space"
            click.secho(how, dim=True, err=True)
        elif text:
            _turn(say, messages, text)


def _turn(say: Say, messages: list[dict[str, str]], text: str) -> None:
    """Answer one turn. A turn that was stopped or did not fit is removed from the history."""
    messages.append({"role": "user", "content": text})
    try:
        answer = say(messages)
    except KeyboardInterrupt:
        messages.pop()
        click.secho("\nstopped", dim=True, err=True)
    except PromptError as error:
        messages.pop()
        click.echo(f"error: {error}\n  /clear forgets the conversation", err=True)
    else:
        messages.append({"role": "assistant", "content": answer})
