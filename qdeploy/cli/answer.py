"""Show an answer as it is generated: content on stdout, reasoning and statistics on stderr."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Protocol

import click

from qdeploy.deploy.loaded_models.model import Model
from qdeploy.deploy.run import describe
from qdeploy.generation.generate import Generation
from qdeploy.generation.pieces import Piece
from qdeploy.generation.reasoning import penalty_against_repetition


class Answering(Protocol):
    """An answer that is made while it is iterated over."""

    def __iter__(self) -> Generator[Piece, None, None]: ...


def show(generation: Answering, *, quiet: bool = False) -> None:
    """Generate an answer and print its pieces as they come. With *quiet*, print nothing."""
    channel = None
    # closing() stops the runtime at once when Ctrl-C interrupts this loop
    with closing(iter(generation)) as pieces:
        for piece in pieces:
            if quiet:
                continue
            if piece.channel != channel and channel == "reasoning":
                click.echo("\n", err=True)
            channel = piece.channel
            if channel == "reasoning":
                click.secho(piece.text, dim=True, nl=False, err=True)
            else:
                click.echo(piece.text, nl=False)
    if not quiet:
        click.echo()


def show_statistics(generation: Generation, model: Model) -> None:
    """Print one line to stderr: where it ran, how many tokens, how fast."""
    answer = model.answer(generation)
    parts = [
        f"{describe(model.choice)} (ran on {', '.join(answer.placement.devices)})",
        f"{answer.prompt_tokens} prompt + {answer.new_tokens} new tokens",
    ]
    if answer.ttft_ms is not None:
        parts.append(f"TTFT {answer.ttft_ms:.0f} ms")
    if answer.tpot_ms is not None:
        parts.append(f"{answer.tpot_ms:.1f} ms a token, {answer.decode_tokens_per_s:.1f} tok/s")
    if answer.finish_reason == "length":
        parts.append("cut at the length limit")
        advised = penalty_against_repetition(model.tokenizer)
        if advised is not None and not generation.sampling.presence_penalty:
            parts.append(f"if it repeats itself: --presence-penalty {advised}")
    click.secho(" | ".join(parts), dim=True, err=True)
