"""Output: JSON and text to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from qdeploy.storage.sizes import size as size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

NAMED = 3
"""Most operators that the warning of a fallback names."""


def write_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    unicode = "utf" in (sys.stdout.encoding or "utf").lower()
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))


def warn(warning: str) -> None:
    """Print a warning to stderr."""
    click.secho(f"warning: {warning}", fg="yellow", err=True)


def warn_of_fallback(fallback: Sequence[str]) -> None:
    """Warn of operators that run elsewhere. The placement that --json prints has all of them."""
    named = ", ".join(fallback[:NAMED]) + (", ..." if len(fallback) > NAMED else "")
    warn(f"heavy operators that run elsewhere: {len(fallback)} ({named})")


def say_exported(nbytes: int) -> None:
    """Tell of a bundle of *nbytes* that was exported on the way."""
    said = f"exported into the cache ({size(nbytes)}; see qdeploy cache)"
    click.secho(said, dim=True, err=True)


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
