"""Reports: results of one or many machines as an HTML page, as Markdown, and merged as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from qdeploy.errors import OutputError
from qdeploy.report.data.merged import NAME, Merged, merge_results
from qdeploy.report.data.model import build_page
from qdeploy.report.html import render_html
from qdeploy.report.markdown import render_markdown
from qdeploy.results import Results
from qdeploy.storage.atomic import OutputKind, atomic_directory, write_file

HTML, MARKDOWN, JSON = "index.html", "report.md", NAME
REPORT = OutputKind(JSON, lambda _: (HTML, MARKDOWN, JSON))


def write_report(files: Iterable[Results], destination: Path, *, force: bool = False) -> Merged:
    """Write the folder of a report, and return the merged results.

    A new folder is created atomically. With *force*, the three files of an existing report are
    replaced, each atomically; other files in the folder are kept.

    Raises:
        OutputError: the folder exists, or cannot be written.
    """
    merged = merge_results(files)
    page = build_page(merged)
    contents = {
        HTML: render_html(page),
        MARKDOWN: render_markdown(page),
        JSON: merged.model_dump_json(indent=1) + "\n",
    }
    if force and (destination / JSON).is_file():
        _replace(destination, contents)
        return merged
    with atomic_directory(destination, REPORT, force=False) as folder:
        for name, text in contents.items():
            (folder / name).write_bytes(text.encode())
    return merged


def _replace(folder: Path, contents: Mapping[str, str]) -> None:
    for name, text in contents.items():
        try:
            write_file(folder / name, text.encode())
        except OSError as error:
            what = f"the file cannot be written ({error.strerror})"
            raise OutputError(what, where=folder / name) from None
