"""`qdeploy run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output
from qdeploy.generation.seed import SEEDS

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED = 3
"""Most operators that the warning of a fallback names."""


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
@options.threads
@click.option("--think/--no-think", default=None, help="Think first; default: the model's.")
@click.option("--thinking-budget", type=click.IntRange(min=0), metavar="N",
              help="Stop thinking after N tokens and answer.")  # fmt: skip
@click.option("--max-new-tokens", type=click.IntRange(min=1), metavar="N",
              help="Most tokens to make, thinking included.")  # fmt: skip
@click.option("--temperature", type=options.Finite(min=0), metavar="X", help="0 is greedy.")
@click.option("--top-p", type=options.Finite(0, 1, min_open=True), metavar="X")
@click.option("--top-k", type=click.IntRange(min=0), metavar="N", help="0 keeps all tokens.")
@click.option("--seed", type=click.IntRange(min=0, max=SEEDS - 1), metavar="N",
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
    threads: int | None,
    think: bool | None,
    thinking_budget: int | None,
    max_new_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Answer PROMPT from MODEL, a bundle's folder or a model that is exported first.

    Without PROMPT, it is read from stdin; on a terminal, a chat begins. The answer goes to stdout,
    thinking and statistics to stderr.
    """
    if think is False and thinking_budget is not None:
        raise click.UsageError("--no-think leaves no thinking to give a --thinking-budget to")
    chatting = prompt is None and sys.stdin is not None and sys.stdin.isatty()
    if chatting and as_json:
        raise click.UsageError("--json needs a PROMPT")
    if not chatting:
        prompt = _read_prompt(prompt)

    import qdeploy
    from qdeploy.cli.answer import show, show_statistics
    from qdeploy.cli.chat import loop
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy.model import AnswerOptions
    from qdeploy.deploy.run import find_bundle

    with ExportProgress(quiet=as_json) as progress:
        bundle, exported = find_bundle(
            model, target, progress, backend=backend, device=device, simulate=simulate
        )
    if exported:
        size = output.size(bundle.nbytes)
        click.secho(f"exported into the cache ({size}; see qdeploy cache)", dim=True, err=True)
    with qdeploy.load(
        bundle,
        target=target,
        device=device,
        backend=backend,
        simulate=simulate,
        context=context,
        allow_fallback=allow_fallback,
        threads=threads,
    ) as loaded:
        if fallback := loaded.placement.fallback:
            _warn(fallback)
        asked = AnswerOptions(
            thinking=think,
            thinking_budget=thinking_budget,
            max_new_tokens=max_new_tokens,
            seed=seed,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
        )
        if chatting:
            loop(loaded, asked)
            return
        generation = loaded.stream(prompt or "", **asked)
        show(generation, quiet=as_json)
        if as_json:
            output.write_json(loaded.answer(generation).as_dict())
        else:
            show_statistics(generation, loaded)


def _warn(fallback: Sequence[str]) -> None:
    """Warn of operators that run elsewhere. The placement that --json prints has all of them."""
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
