"""Output: JSON and text to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def write_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    unicode = "utf" in (sys.stdout.encoding or "utf").lower()
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))


def console(*, stderr: bool = False) -> Console:
    """Return a console that wraps lines at the terminal's width, and not elsewhere.

    Square brackets are text, as in `pip install 'qdeploy[openvino]'`.
    """
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False)
    if not made.is_terminal:
        made.width = 100_000
    return made


def table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table. The columns named in *right* are right-aligned."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def size(nbytes: float) -> str:
    """Return a size in decimal units, as disks and model hubs use: 385.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} TB"
