"""`qdeploy embed`."""

from __future__ import annotations

from typing import Any

import click

from qdeploy.cli import encoding
from qdeploy.cli.texts import TextCommand

QUERY = "query"


@click.command("embed", cls=TextCommand)
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--query", is_flag=True, help="The texts are queries: --prompt-name query.")
@click.option("--prompt-name", metavar="NAME", help="One of the model's own prompts.")
@click.option("--prompt", metavar="TEXT", help="A prompt of your own, put before every text.")
@click.option("--dimensions", type=click.IntRange(min=1), metavar="N",
              help="Keep so many elements of a vector (Matryoshka).")  # fmt: skip
@encoding.common_options
def command(
    model: str,
    texts: tuple[str, ...],
    query: bool,
    prompt_name: str | None,
    prompt: str | None,
    dimensions: int | None,
    batch_size: int,
    truncate: bool,
    json_lines: bool,
    **where: Any,
) -> None:
    """Make a vector of each TEXT with MODEL, a bundle's folder or a model that is exported first.

    Without TEXT, each line of stdin is one. Every text gives one line of JSON: its `index`, its
    `embedding` and its number of `tokens`.
    """
    if sum((query, prompt_name is not None, prompt is not None)) > 1:
        raise click.UsageError("--query, --prompt-name and --prompt exclude each other")
    name = QUERY if query else prompt_name
    with encoding.load(model, "embed", where) as loaded:
        from qdeploy.deploy.loaded_models.embedding import Embedder

        assert isinstance(loaded, Embedder)  # noqa: S101  # what the task promises
        loaded.check_dimensions(dimensions)
        index = 0
        for batch in encoding.texts_from(texts, batch_size, json_lines=json_lines):
            ids = loaded.token_ids(batch, prompt_name=name, prompt=prompt, truncate=truncate)
            vectors = loaded.shorten(loaded.encode(ids, batch_size), dimensions)
            for tokens, vector in zip(ids, vectors, strict=True):
                found = {"index": index, "embedding": encoding.plain(vector), "tokens": len(tokens)}
                encoding.write_line(found)
                index += 1
