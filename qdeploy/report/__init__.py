"""The report: results of one or many machines as a page, as Markdown, and merged as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qdeploy import atomic
from qdeploy.report import html, markdown
from qdeploy.report.merged import NAME, Merged, merge
from qdeploy.report.model import page
from qdeploy.results import Results

HTML, MARKDOWN, JSON = "index.html", "report.md", NAME
REPORT = atomic.Kind(JSON, lambda _: (HTML, MARKDOWN, JSON))


def write(files: Iterable[Results], destination: Path, *, force: bool = False) -> Merged:
    """Write the folder of a report, whole or not at all, and return what it was made of.

    Raises:
        OutputError: the folder exists, or cannot be written.
    """
    with atomic.appearing(destination, REPORT, force=force) as folder:
        merged = merge(files)
        shown = page(merged)
        (folder / HTML).write_text(html.render(shown), encoding="utf-8")
        (folder / MARKDOWN).write_text(markdown.render(shown), encoding="utf-8")
        (folder / JSON).write_text(merged.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return merged
