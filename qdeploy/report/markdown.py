"""The report as Markdown for pull requests and job summaries: its tables, without the charts."""

from __future__ import annotations

from qdeploy.report.data.model import Page
from qdeploy.report.data.table import Badge, Table
from qdeploy.storage.markdown import code, escaped, table


def render_markdown(page: Page) -> str:
    """Render the tables of a report as GitHub's Markdown."""
    facts = " · ".join(f"{number} {word}" for number, word in page.facts)
    parts = ["# qdeploy report", facts, "## What runs where", markdown_table(page.coverage)]
    parts += ["## Machines", markdown_table(page.machines)]
    for speed in page.speeds:
        parts += [
            f"## Speed: {escaped(speed.model)}",
            f"model `{code(speed.digest)}`, protocol `{code(speed.protocol_hash)}`",
            markdown_table(speed.speed),
            _folded("Load, memory, energy, placement and conditions", speed.costs),
            _folded("Protocol", speed.protocol),
        ]
    for load in page.loads:
        parts += [
            f"## Under load: {escaped(load.model)}",
            f"model `{code(load.digest)}`, protocol `{code(load.protocol_hash)}`",
            markdown_table(load.table),
            _folded("Protocol", load.protocol),
        ]
    for quality in page.qualities:
        compared = f"against {escaped(quality.reference)}, on {escaped(quality.text)}"
        parts += [
            f"## Quality: {escaped(quality.model)}",
            f"model `{code(quality.digest)}`, {compared}",
            markdown_table(quality.table),
        ]
    if page.calibration:
        parts += ["## Data-free against calibrated", markdown_table(page.calibration)]
    if page.encodings:
        parts += ["## Embedding and reranking", markdown_table(page.encodings)]
    if page.diagnoses:
        parts += ["## Diagnoses", markdown_table(page.diagnoses)]
    parts.append(f"Made {escaped(page.created)} from results of qdeploy {escaped(page.qdeploy)}.")
    return "\n\n".join(parts) + "\n"


def markdown_table(given: Table) -> str:
    """Render one table; numeric columns are aligned right."""
    numeric = [given.numeric(i) for i in range(len(given.columns))]
    heads = [escaped(str(column)) for column in given.columns]
    return table(heads, [[_cell(cell) for cell in row] for row in given.formatted()], numeric)


def _cell(cell: str | Badge) -> str:
    return f"**{escaped(cell.word)}**" if isinstance(cell, Badge) else escaped(cell)


def _folded(title: str, table: Table) -> str:
    return (
        f"<details><summary>{title}</summary>\n\n{markdown_table(table)}\n\n</details>"
        if table
        else ""
    )
