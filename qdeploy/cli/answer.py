"""Shows one answer while it is made: the answer on stdout, thinking and statistics on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import click

from qdeploy.deploy.run import Choice, describe
from qdeploy.generation.generate import Generation, Settings
from qdeploy.interface import Session
from qdeploy.tokenization.tokenizer import Message, Tokenizer


def stream(
    session: Session,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    settings: Settings,
    *,
    quiet: bool = False,
) -> Generation:
    """Generate an answer and print its pieces as they come; with *quiet*, print nothing."""
    generation = Generation(session, tokenizer, messages, settings)
    channel = None
    # closed here and now, so that Ctrl-C anywhere in this loop stops the runtime as well
    with closing(iter(generation)) as pieces:
        for piece in pieces:
            if quiet:
                continue
            if piece.channel != channel and channel == "thinking":
                click.echo("\n", err=True)
            channel = piece.channel
            if channel == "thinking":
                click.secho(piece.text, dim=True, nl=False, err=True)
            else:
                click.echo(piece.text, nl=False)
    if not quiet:
        click.echo()
    return generation


def statistics(generation: Generation, choice: Choice, session: Session) -> None:
    """Print one line to stderr: where it ran, how many tokens, how fast."""
    timing = generation.timing
    parts = [
        f"{describe(choice)} (ran on {', '.join(session.placement().devices)})",
        f"{generation.prompt_tokens} prompt + {len(generation.tokens)} new tokens",
    ]
    if timing.ttft_ms is not None:
        parts.append(f"TTFT {timing.ttft_ms:.0f} ms")
    if timing.tpot_ms is not None:
        parts.append(f"{timing.tpot_ms:.1f} ms a token, {timing.decode_tokens_per_s:.1f} tok/s")
    if generation.finish_reason == "length":
        parts.append("cut at the length limit")
    click.secho(" | ".join(parts), dim=True, err=True)
