"""`qdeploy rerank`."""

from __future__ import annotations

from typing import Any

import click

from qdeploy.cli import encoding
from qdeploy.cli.texts import TextCommand


@click.command("rerank", cls=TextCommand)
@click.argument("model")
@click.argument("query")
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@click.option("--instruction", metavar="TEXT",
              help="What makes a document relevant; default: Qwen3-Reranker's.")  # fmt: skip
@click.option("--top-n", type=click.IntRange(min=1), metavar="N",
              help="The best N only, best first; default: all in their order.")  # fmt: skip
@encoding.common_options
def command(
    model: str,
    query: str,
    documents: tuple[str, ...],
    instruction: str | None,
    top_n: int | None,
    batch_size: int,
    truncate: bool,
    json_lines: bool,
    **where: Any,
) -> None:
    """Score how well each DOCUMENT answers QUERY, with MODEL, a bundle or a model exported first.

    Without DOCUMENT, each line of stdin is one. Every document gives one line of JSON: its `index`,
    its `score` from 0 to 1, and the number of `tokens` of both.
    """
    with encoding.load(model, "rerank", where) as loaded:
        found: list[dict[str, Any]] = []
        for batch in encoding.texts_from(documents, batch_size, json_lines=json_lines):
            ranked = loaded.rerank(
                query, batch, instruction=instruction, batch_size=batch_size, truncate=truncate
            )
            lines = [r.as_dict() | {"index": len(found) + r.index} for r in ranked]
            found += lines
            if top_n is None:
                for line in lines:
                    encoding.write_line(line)
        if top_n is not None:
            for line in sorted(found, key=lambda line: -line["score"])[:top_n]:
                encoding.write_line(line)
