"""The report as Markdown, for a pull request or a job's summary: its tables, without the plots."""

from __future__ import annotations

import re

from qdeploy.report.data.model import Page
from qdeploy.report.data.table import Badge, Table

SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&@$])")
"""What GitHub's Markdown may take for markup, for a mention or for a formula."""
NOT_IN_CODE = re.compile(r"[^\w.-]")


def render(page: Page) -> str:
    """Write the page's tables as GitHub's Markdown."""
    facts = " · ".join(f"{number} {word}" for number, word in page.facts)
    parts = ["# qdeploy report", facts, "## What runs where", table(page.coverage)]
    parts += ["## Machines", table(page.machines)]
    for speed in page.speeds:
        parts += [
            f"## Speed: {escaped(speed.model)}",
            f"model `{code(speed.digest)}`, protocol `{code(speed.protocol_hash)}`",
            table(speed.speed),
            _folded("Load, memory, energy, placement and conditions", speed.costs),
            _folded("Protocol", speed.protocol),
        ]
    for quality in page.qualities:
        compared = f"against {escaped(quality.reference)}, on {escaped(quality.text)}"
        parts += [
            f"## Quality: {escaped(quality.model)}",
            f"model `{code(quality.digest)}`, {compared}",
            table(quality.table),
        ]
    if page.diagnoses:
        parts += ["## Diagnoses", table(page.diagnoses)]
    parts.append(f"Made {escaped(page.created)} from results of qdeploy {escaped(page.qdeploy)}.")
    return "\n\n".join(parts) + "\n"


def table(of: Table) -> str:
    """One table; numbers are set to the right."""
    rules = ["--:" if of.numeric(i) else "---" for i in range(len(of.columns))]
    rows = [[escaped(str(c)) for c in of.columns], rules]
    rows += [[_cell(cell) for cell in row] for row in of.shown()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escaped(text: str) -> str:
    """Text that stands for itself, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A digest between backquotes; nothing can be escaped there, so what is no digest's goes."""
    return NOT_IN_CODE.sub("?", text)


def _cell(cell: str | Badge) -> str:
    return f"**{escaped(cell.word)}**" if isinstance(cell, Badge) else escaped(cell)


def _folded(title: str, of: Table) -> str:
    return f"<details><summary>{title}</summary>\n\n{table(of)}\n\n</details>" if of else ""
