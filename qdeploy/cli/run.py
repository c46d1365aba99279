"""`qdeploy run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output
from qdeploy.cli.texts import TextCommand
from qdeploy.generation.seed import SEEDS

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qdeploy.deploy.loaded_models.answers import AnswerOptions
    from qdeploy.deploy.run import Which


def _check_stop(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...] | None:
    for text in texts:
        _check_text(text, "--stop")
    return texts or None


def _read_schema(_: click.Context, __: click.Parameter, file: str | None) -> str | None:
    """Read the file of a JSON schema."""
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise click.BadParameter(f"{file}: {reason}") from None


@click.command("run", cls=TextCommand)
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@options.target
@options.device
@options.endpoint
@options.backend
@options.simulate
@options.allow_fallback
@options.context
@options.threads
@click.option("--system", metavar="TEXT", help="The system prompt.")
@click.option(
    "--think/--no-think", "thinking", default=None, help="Think first; default: the model's."
)
@click.option("--thinking-budget", type=click.IntRange(min=0), metavar="N",
              help="Stop thinking after N tokens and answer.")  # fmt: skip
@click.option("--max-new-tokens", type=click.IntRange(min=1), metavar="N",
              help="Most tokens to make, thinking included.")  # fmt: skip
@click.option("--temperature", type=options.Finite(min=0), metavar="X", help="0 is greedy.")
@click.option("--top-p", type=options.Finite(0, 1, min_open=True), metavar="X")
@click.option("--top-k", type=click.IntRange(min=0), metavar="N", help="0 keeps all tokens.")
@click.option("--min-p", type=options.Finite(0, 1), metavar="X",
              help="Drop tokens less than X times as probable as the best.")  # fmt: skip
@click.option("--repetition-penalty", type=options.Finite(0, min_open=True), metavar="X",
              help="Over 1, tokens of prompt and answer get less probable.")  # fmt: skip
@click.option("--presence-penalty", type=options.Finite(-2, 2), metavar="X",
              help="Over 0, tokens of the answer get less probable; Qwen advises 1.5 "
                   "for quantized models that repeat themselves.")  # fmt: skip
@click.option("--frequency-penalty", type=options.Finite(-2, 2), metavar="X",
              help="The same, times how often the answer has the token.")  # fmt: skip
@click.option("--stop", multiple=True, metavar="TEXT", callback=_check_stop,
              help="End the answer before TEXT; may be given more than once.")  # fmt: skip
@click.option("--json-schema", callback=_read_schema, metavar="FILE",
              help="Keep the answer to a JSON Schema, where the runtime can.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0, max=SEEDS - 1), metavar="N",
              help="The same seed gives the same answer.")  # fmt: skip
@options.as_json
def command(
    model: str | None,
    prompt: str | None,
    target: str | None,
    device: Which,
    endpoint: str | None,
    endpoint_model: str | None,
    backend: str | None,
    simulate: bool,
    allow_fallback: bool,
    context: int | None,
    threads: int | None,
    as_json: bool,
    **asked: Unpack[AnswerOptions],
) -> None:
    """Answer PROMPT from MODEL: a bundle's folder or hub id, or a model that is exported first.

    Without PROMPT, it is read from stdin; on a terminal, a chat begins. The answer goes to stdout,
    thinking and statistics to stderr. With --endpoint, MODEL is a bundle whose tokenizer is used;
    without one, the server does the text.
    """
    device = options.at_endpoint(endpoint, endpoint_model, device, target)
    if endpoint is not None:
        from qdeploy.cli import remote

        model, prompt = remote.split(model, prompt)
        if model is None:
            local = {"backend": backend, "simulate": simulate, "context": context,
                     "threads": threads, "allow-fallback": allow_fallback}  # fmt: skip
            remote.refuse(local)
    elif model is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    if asked["thinking"] is False and asked["thinking_budget"] is not None:
        raise click.UsageError("--no-think leaves no thinking to give a --thinking-budget to")
    chatting = prompt is None and sys.stdin is not None and sys.stdin.isatty()
    if chatting and as_json:
        raise click.UsageError("--json needs a PROMPT")
    if not chatting:
        prompt = _read_prompt(prompt)
    _check_text(asked["system"], "--system")
    if model is None:
        remote.answer(endpoint or "", endpoint_model, prompt, asked, as_json=as_json)
        return

    import qdeploy
    from qdeploy.cli.answer import show, show_statistics
    from qdeploy.cli.chat import loop
    from qdeploy.cli.progress import ExportProgress
    from qdeploy.deploy.obtain import find_bundle
    from qdeploy.deploy.refusals import check_task
    from qdeploy.deploy.run import describe

    with ExportProgress(quiet=as_json) as progress:
        bundle, exported = find_bundle(
            model, target, progress, backend=backend, device=device, simulate=simulate
        )
    check_task(bundle, "generate")
    if exported:
        output.say_exported(bundle.nbytes)
    with qdeploy.load(
        bundle,
        target=target,
        **options.load_on(device),
        backend=backend,
        simulate=simulate,
        context=context,
        allow_fallback=allow_fallback,
        threads=threads,
    ) as loaded:
        output.warn_of(loaded)
        if chatting:

            def say(messages: list[dict[str, str]]) -> str:
                turn = loaded.stream(messages, **asked)
                show(turn)
                show_statistics(turn, loaded)
                return turn.text

            loop(describe(loaded.choice), say)
            return
        generation = loaded.stream(prompt or "", **asked)
        show(generation, quiet=as_json)
        if as_json:
            answer = loaded.answer(generation).as_dict()
            output.write_json(answer | {"warnings": list(loaded.warnings)})
        else:
            show_statistics(generation, loaded)


def _read_prompt(prompt: str | None) -> str:
    try:
        text = (sys.stdin.read() if sys.stdin else "") if prompt in (None, "-") else prompt
    except UnicodeDecodeError:
        raise click.UsageError("the prompt is not UTF-8 text") from None
    _check_text(text, "the prompt")
    if not text or not text.strip():
        raise click.UsageError("the prompt is empty")
    return text


def _check_text(text: str | None, what: str) -> None:
    try:
        (text or "").encode()  # an argument that is not UTF-8 holds lone surrogates
    except UnicodeEncodeError:
        raise click.UsageError(f"{what} is not UTF-8 text") from None
