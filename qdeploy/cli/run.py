"""`qdeploy run`."""

from __future__ import annotations

import secrets
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdeploy.interface import Sampling
    from qdeploy.tokenization.tokenizer import Tokenizer

NAMED = 3
"""Operators that a warning names of those that ran elsewhere."""


@click.command("run")
@click.argument("model")
@click.argument("prompt", required=False)
@options.target
@options.device
@options.backend
@options.simulate
@click.option("--allow-fallback", is_flag=True,
              help="Let heavy operators run elsewhere, with a warning.")  # fmt: skip
@options.context
@click.option("--think/--no-think", default=None, help="Think first; default: the model's.")
@click.option("--thinking-budget", type=click.IntRange(min=0), metavar="N",
              help="Stop thinking after N tokens and answer.")  # fmt: skip
@click.option("--max-new-tokens", type=click.IntRange(min=1), metavar="N",
              help="Most tokens to make, thinking included.")  # fmt: skip
@click.option("--temperature", type=options.Finite(min=0), metavar="X", help="0 is greedy.")
@click.option("--top-p", type=options.Finite(0, 1, min_open=True), metavar="X")
@click.option("--top-k", type=click.IntRange(min=0), metavar="N", help="0 keeps all tokens.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), metavar="N",
              help="The same seed gives the same answer.")  # fmt: skip
@options.as_json
def command(
    model: str,
    prompt: str | None,
    target: str | None,
    device: str,
    backend: str | None,
    simulate: bool,
    allow_fallback: bool,
    context: int | None,
    think: bool | None,
    thinking_budget: int | None,
    max_new_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Answer PROMPT from MODEL, a bundle's folder or a model to be exported first.

    Without PROMPT it is read from stdin; on a terminal, a chat begins. The answer goes to stdout,
    thinking and statistics to stderr.
    """
    if think is False and thinking_budget is not None:
        raise click.UsageError("--no-think leaves no thinking to give a --thinking-budget to")
    chatting = prompt is None and sys.stdin is not None and sys.stdin.isatty()
    if chatting and as_json:
        raise click.UsageError("--json needs a PROMPT")
    if not chatting:
        prompt = _read_prompt(prompt)

    from qdeploy.cli import answer, chat
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy import run
    from qdeploy.generation.generate import Settings
    from qdeploy.tokenization.tokenizer import Tokenizer

    with ExportProgress(quiet=as_json) as progress:
        opened, exported = run.find_bundle(
            model, target, progress, backend=backend, device=device, simulate=simulate
        )
    if exported:
        size = output.size(opened.nbytes)
        click.secho(f"exported into the cache ({size}; see qdeploy cache)", dim=True, err=True)
    choice = run.choose(opened, target=target, backend=backend, device=device, simulate=simulate)
    tokenizer = Tokenizer(opened.path)
    settings = Settings(
        think=think,
        thinking_budget=thinking_budget,
        max_new_tokens=max_new_tokens,
        sampling=_sampling(tokenizer, think, temperature, top_p, top_k),
        seed=secrets.randbelow(2**32) if seed is None else seed,
    )
    with run.load(opened, choice, context=context, allow_fallback=allow_fallback) as session:
        if fallback := session.placement().fallback:
            _warn(fallback)
        if chatting:
            chat.loop(session, tokenizer, settings, choice)
            return
        messages = [{"role": "user", "content": prompt or ""}]
        generation = answer.stream(session, tokenizer, messages, settings, quiet=as_json)
        if as_json:
            output.write_json(run.result(generation, choice, session))
        else:
            answer.statistics(generation, choice, session)


def _warn(fallback: Sequence[str]) -> None:
    """Tell what runs elsewhere; all of it is in the placement that --json prints."""
    named = ", ".join(fallback[:NAMED]) + (", ..." if len(fallback) > NAMED else "")
    warning = f"warning: heavy operators that run elsewhere: {len(fallback)} ({named})"
    click.secho(warning, fg="yellow", err=True)


def _read_prompt(prompt: str | None) -> str:
    try:
        text = (sys.stdin.read() if sys.stdin else "") if prompt in (None, "-") else prompt
        (text or "").encode()
    except UnicodeError:
        raise click.UsageError("the prompt is not UTF-8 text") from None
    if not text or not text.strip():
        raise click.UsageError("the prompt is empty")
    return text


def _sampling(
    tokenizer: Tokenizer,
    think: bool | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
) -> Sampling:
    """The model's recommended sampling, with what the user set instead."""
    from qdeploy.generation.reasoning import default_sampling

    recommended = default_sampling(tokenizer, think)
    return replace(
        recommended,
        temperature=recommended.temperature if temperature is None else temperature,
        top_p=recommended.top_p if top_p is None else top_p,
        top_k=recommended.top_k if top_k is None else top_k,
    )
