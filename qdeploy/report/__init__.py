"""The report: results of one or many machines as a page, as Markdown, and merged as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from qdeploy.errors import OutputError
from qdeploy.report import html, markdown
from qdeploy.report.data.merged import NAME, Merged, merge
from qdeploy.report.data.model import page
from qdeploy.results import Results
from qdeploy.storage.atomic import OutputKind, atomic_directory, write_file

HTML, MARKDOWN, JSON = "index.html", "report.md", NAME
REPORT = OutputKind(JSON, lambda _: (HTML, MARKDOWN, JSON))


def write_report(files: Iterable[Results], destination: Path, *, force: bool = False) -> Merged:
    """Write the folder of a report, and return what it was made of.

    A new folder appears whole or not at all. With *force*, in the folder of a report, each file
    is replaced so, and what else lies there stays.

    Raises:
        OutputError: the folder exists, or cannot be written.
    """
    merged = merge(files)
    shown = page(merged)
    made = {
        HTML: html.render(shown),
        MARKDOWN: markdown.render(shown),
        JSON: merged.model_dump_json(indent=1) + "\n",
    }
    if force and (destination / JSON).is_file():
        _replace(destination, made)
        return merged
    with atomic_directory(destination, REPORT, force=False) as folder:
        for name, text in made.items():
            (folder / name).write_bytes(text.encode())
    return merged


def _replace(folder: Path, made: Mapping[str, str]) -> None:
    for name, text in made.items():
        try:
            write_file(folder / name, text.encode())
        except OSError as error:
            what = f"the file cannot be written ({error.strerror})"
            raise OutputError(what, where=folder / name) from None
