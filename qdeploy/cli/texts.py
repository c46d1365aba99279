"""Texts on the command line: one that begins with a dash is a text, if it cannot be an option."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import click

SHIELD = "\0"
"""Put before a text so that click takes it for none of its options; no argument can hold it."""
TEXT = re.compile(r"-.*\s.*|-[^-A-Za-z].*|--[^A-Za-z].*|---.*", re.DOTALL)
"""Begins with a dash, and is the name of no option: these are single words that begin with a
letter."""


class TextCommand(click.Command):
    """A command of which arguments are texts, such as a prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, list(self._shielded(args)))
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.format_message()}\n"
                f"A text that begins with a dash goes last, after --: {ctx.command_path} ... -- "
                f"{error.option_name}",
                ctx,
            ) from None
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            raise click.UsageError(
                f"{error.format_message()}.\nA text of several words goes in quotes, and options "
                f'go before or after it: {ctx.command_path} MODEL "TEXT"',
                ctx,
            ) from None
        ctx.params = {name: _bare(value) for name, value in ctx.params.items()}
        return rest

    def _shielded(self, args: Sequence[str]) -> Iterator[str]:
        """The arguments, with a shield before each text that begins with a dash."""
        options = [option for option in self.params if isinstance(option, click.Option)]
        known = {name for option in options for name in _names(option)} | {"-h", "--help"}
        valued = {n for o in options if not (o.is_flag or o.count) for n in _names(o)}
        before, ended = "", False
        for arg in args:
            ended = ended or (arg == "--" and before not in valued)
            free = not ended and before not in valued
            yield SHIELD + arg if free and _is_text(arg, known) else arg
            before = arg


def _names(option: click.Option) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def _is_text(arg: str, known: Collection[str]) -> bool:
    """Whether an argument begins with a dash and cannot be an option, nor one and its value."""
    if not TEXT.fullmatch(arg):
        return False
    name = arg.split()[0]
    return name not in known and name[:2] not in known and "=" not in name


def _bare(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_bare, value))
    return value.removeprefix(SHIELD) if isinstance(value, str) else value
