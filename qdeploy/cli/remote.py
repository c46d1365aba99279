"""`qdeploy run --endpoint URL` without a bundle: the server does the text."""

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
            f"--{given[0]} needs a bundle before the prompt; without one, the server does the text"
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
