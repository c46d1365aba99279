"""`qdeploy run` and `bench` with --endpoint and without a bundle: the server does the text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import output
from qdeploy.cli.answer import show

if TYPE_CHECKING:
    from qdeploy.deploy.remote import RemoteAnswer, RemoteChat


def split(model: str | None, prompt: str | None) -> tuple[str | None, str | None]:
    """Tell model and prompt apart: a single word that is no bundle is the prompt."""
    if prompt is None and model is not None and not _is_bundle(model):
        return None, model
    return model, prompt


def refuse(options: Mapping[str, object]) -> None:
    """Refuse the options, by their names, that are set and are nothing to a server."""
    if given := [name for name, value in options.items() if value]:
        raise click.UsageError(
            f"--{given[0]} needs a bundle, beside --endpoint; without one, the server does the text"
        )


def _is_bundle(word: str) -> bool:
    from qdeploy.bundle import is_bundle

    try:
        return is_bundle(Path(word).expanduser())
    except (OSError, ValueError, RuntimeError):  # too long for a name, or one of nobody's home
        return False


def answer(
    url: str, model: str | None, prompt: str | None, asked: Mapping[str, Any], *, as_json: bool
) -> None:
    """Answer *prompt*, or chat on the terminal where there is none."""
    from qdeploy.cli.chat import loop
    from qdeploy.deploy.remote import RemoteChat

    with RemoteChat(url, model) as chat:

        def say(messages: list[dict[str, str]]) -> str:
            made = chat.stream(messages, **asked)
            show(made, quiet=as_json)
            if as_json:
                output.write_json(made.as_dict(chat))
            else:
                click.secho(statistics(made, chat), dim=True, err=True)
            return made.text

        if prompt is None:
            loop(f"{chat.server.title} ({chat.url})", say)
        else:
            say([{"role": "user", "content": prompt}])


def statistics(made: RemoteAnswer, chat: RemoteChat) -> str:
    """One line: who answered, how many tokens by whose count, how fast."""
    usage, tpot = made.usage, made.tpot_ms
    parts = [f"{chat.server.title} ({chat.url}) · evidence: {chat.server.evidence}"]
    if usage:
        count = f"{usage.prompt_tokens} prompt + {usage.completion_tokens} new tokens"
        parts.append(f"{count} by the server's count")
    else:
        parts.append(f"{len(made.stamps)} chunks; the server counts no tokens")
    if made.ttft_ms is not None:
        parts.append(f"TTFT {made.ttft_ms:.0f} ms")
    if tpot:
        parts.append(f"{tpot:.1f} ms a token, {1000 / tpot:.1f} tok/s")
    if made.finish_reason == "length":
        parts.append("cut at the length limit")
    return " | ".join(parts)


def bench(
    url: str, model: str | None, prompt: str | None, new: str | None, runs: int, *, as_json: bool
) -> None:
    """Measure a server, and print a row for each length of prompt, in words."""
    from qdeploy.bench import grid
    from qdeploy.bench.remote import measure
    from qdeploy.cli.progress import BenchProgress
    from qdeploy.deploy.remote import RemoteChat

    words = grid.parse(prompt, "--prompt") if prompt else grid.PROMPTS
    most = grid.parse(new, "--new", least=grid.FEWEST_NEW) if new else grid.NEW
    with RemoteChat(url, model) as chat:
        with BenchProgress(quiet=as_json) as progress:
            rows = list(measure(chat, grid.points(words, most), runs, progress.advance))
        server = chat.server
        about = {"endpoint": chat.url, "server": server.title, "model": server.model.id,
                 "evidence": str(server.evidence), "proof": server.proof}  # fmt: skip
    if as_json:
        output.write_json(about | {"results": [row.as_dict() for row in rows]})
        return
    numbers = ("words", "prompt", "new", "chunks", "TTFT ms", "TPOT ms", "tok/s")
    table = output.table(*numbers, right=numbers)
    for row in rows:
        counts = (row.median(name) for name in ("prompt_tokens", "new_tokens", "chunks"))
        times = (row.median(name) for name in ("ttft_ms", "tpot_ms", "decode_tokens_per_s"))
        cells = [str(row.point.prompt), *map(_number, counts), *map(_number, times)]
        table.add_row(*cells)
    console = output.console()
    console.print(f"{server.title} ({chat.url}), evidence: {server.evidence}", style="bold")
    console.print(table)
    console.print("medians; tokens of prompt and answer are by the server's count")


def _number(value: float | None) -> str:
    return "not told" if value is None else f"{value:.1f}".removesuffix(".0")
