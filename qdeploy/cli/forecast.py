"""Forecasts as text: a table for each model, a row for each device of each target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.cli import output

if TYPE_CHECKING:
    from rich.console import Console

    from qdeploy.checkpoint.checkpoint import Checkpoint
    from qdeploy.forecast.forecast import Forecast

NO_PROFILE = "none yet"
UNKNOWN = "?"
SPEEDS = {
    "limit": "the device's full bandwidth and rate of operations; no run was measured there",
    "expected": "the share of bandwidth and rate that measured runs reached",
}
"""What the speeds of a forecast mean; see docs/planning.md."""


def show_forecasts(checkpoint: Checkpoint, rows: Sequence[Forecast], *, as_json: bool) -> None:
    """Print the forecasts of a model. They are predictions: nothing was run."""
    if as_json:
        output.write_json(
            {
                "model": checkpoint.name,
                "architecture": checkpoint.config.name,
                "parameters": checkpoint.parameters,
                "forecasts": [row.as_dict() for row in rows],
            }
        )
        return
    console = output.console()
    shape = f"{checkpoint.config.name}, {checkpoint.parameters:,} parameters"
    console.print(f"{checkpoint.name} ({shape})", style="bold")
    if not rows:
        console.print("no target has such a device")
        return
    console.print(
        f"context of {rows[0].context} tokens; speeds of one request, prompt of {rows[0].prompt}"
    )
    show_table(rows, console)


def show_table(rows: Sequence[Forecast], console: Console) -> None:
    """Print a table of forecasts, with speed and memory over all devices together."""
    numbers = ("needed", "each has", "devices", "prefill tok/s", "decode tok/s")
    columns = ("target", "device", "profile", "weights as", *numbers, "speeds are", "export peak")
    right = (*numbers, "export peak")
    made = output.table(*columns, "evidence", "remarks", right=right)
    for row in rows:
        made.add_row(
            row.target,
            row.device or UNKNOWN,
            row.profile or NO_PROFILE,
            row.precision or UNKNOWN,
            _size(row.needed_bytes),
            _size(row.memory_bytes),
            _devices(row),
            _speed(row.prefill_tokens_per_s),
            _speed(row.decode_tokens_per_s),
            row.speeds or UNKNOWN,
            _size(row.export_peak_bytes),
            row.evidence,
            row.reason or "",
        )
    console.print(made)
    for word, what in SPEEDS.items():
        if any(row.speeds == word for row in rows):
            console.print(f"{word}: {what}")


def _devices(row: Forecast) -> str:
    if row.fits is None:
        return UNKNOWN
    return str(row.devices) if row.fits else "does not fit"


def _size(nbytes: float | None) -> str:
    return UNKNOWN if nbytes is None else output.size(nbytes)


def _speed(tokens_per_s: float | None) -> str:
    if tokens_per_s is None:
        return UNKNOWN
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.1f}"
