"""The README's table of what runs where, made from results and never by hand."""

from __future__ import annotations

from collections.abc import Iterable

from qdeploy.errors import InputError
from qdeploy.report import markdown
from qdeploy.report.data.coverage import coverage
from qdeploy.report.data.table import Table
from qdeploy.results import Results

BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"
LEFT_OUT = ("machine",)
"""Columns of the report that the README has no room for."""


def updated(readme: str, files: Iterable[Results]) -> str:
    """Return *readme* with the block between its two marks made from *files*.

    Raises:
        InputError: the marks are not there, each once and in their order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise InputError(
            f"there is no single block from {BEGIN} to {END}", fix="put both marks, once each"
        )
    return f"{before}{BEGIN}\n{block(files)}\n{END}{after}"


def block(files: Iterable[Results]) -> str:
    """The table as Markdown."""
    whole = coverage(files)
    kept = [i for i, column in enumerate(whole.columns) if column.title not in LEFT_OUT]
    return markdown.table(
        Table(
            tuple(whole.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in whole.rows),
        )
    )
