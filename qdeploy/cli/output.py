"""Output: JSON and text to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from qdeploy.storage.sizes import size as size

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from qdeploy.deploy.loaded_models.model import Model
    from qdeploy.results import Bench, Divergence, Load

NAMED = 3
"""Most operators that the warning of a fallback names."""


def write_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    unicode = "utf" in (sys.stdout.encoding or "utf").lower()
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))


def warn(warning: str) -> None:
    """Print a warning to stderr."""
    click.secho(f"warning: {warning}", fg="yellow", err=True)


def warn_of(loaded: Model) -> None:
    """Warn of what is not as it should be with a loaded model.

    Of operators that run elsewhere, the placement that --json prints has all.
    """
    if fallback := loaded.placement.fallback:
        named = ", ".join(fallback[:NAMED]) + (", ..." if len(fallback) > NAMED else "")
        warn(f"heavy operators that run elsewhere: {len(fallback)} ({named})")
    for warning in loaded.warnings:
        warn(warning)


def show_subject(console: Console, path: Path, row: Bench | Load) -> None:
    """Print what the rows below are about: the bundle, and where it ran."""
    artifact, environment = row.artifact, row.environment
    console.print(
        f"{path}: {artifact.model}, {artifact.profile} ({artifact.weights}) · "
        f"{environment.target} · {environment.backend} · {environment.device}",
        style="bold",
    )


def kl(found: Divergence) -> str:
    """Return a mean KL divergence in nats per token, with its 95% interval if it has one."""
    return f"{figure(found.mean)}{interval(found.interval)}"


def interval(bounds: tuple[float, float] | None) -> str:
    """Return the bounds of a 95% interval, to follow its figure; nothing if there are none."""
    return "" if bounds is None else f" ({figure(bounds[0])} to {figure(bounds[1])})"


def figure(value: float) -> str:
    """Return a number with three significant digits, zeros at its end included."""
    return f"{value:#.3g}".rstrip(".")


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
