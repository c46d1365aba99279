"""The README's table "What runs where", generated from committed results files."""

from __future__ import annotations

from collections.abc import Iterable

from qdeploy.errors import InputError
from qdeploy.report.data.coverage import coverage_table
from qdeploy.report.data.table import Table
from qdeploy.report.markdown import markdown_table
from qdeploy.results import Results

BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"
LEFT_OUT = ("machine",)
"""Columns of the report that are not in the README, for lack of space."""


def update_readme(readme: str, files: Iterable[Results]) -> str:
    """Return *readme* with the block between its two marks generated from *files*.

    Raises:
        InputError: a mark is missing or repeated, or they are in the wrong order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise InputError(
            f"there is no single block from {BEGIN} to {END}", fix="put both marks, once each"
        )
    return f"{before}{BEGIN}\n{readme_table(files)}\n{END}{after}"


def readme_table(files: Iterable[Results]) -> str:
    """The README's table as Markdown."""
    whole = coverage_table(files)
    kept = [i for i, column in enumerate(whole.columns) if column.title not in LEFT_OUT]
    return markdown_table(
        Table(
            tuple(whole.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in whole.rows),
        )
    )
