"""The options of calibration, and what a plan says about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from qdeploy.cli import output

if TYPE_CHECKING:
    from qdeploy.calibration.cost import Cost
    from qdeploy.planning.plan import Plan


class Calibrating(TypedDict):
    """What the options give, by the names of the arguments of `qdeploy.export`."""

    calibrate: bool | None
    calibration: Path | None
    calibration_tokens: int | None
    calibration_seed: int | None
    average_bits: float | None
    fit: str | None


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of calibration."""
    for option in (
        click.option(
            "--fit",
            metavar="SIZE",
            help="Most bytes of the bundle, e.g. 4GiB: bits go where they count; calibrates.",
        ),
        click.option(
            "--average-bits",
            type=float,
            metavar="B",
            help="Most bits of linear weights, e.g. 4.5: bits go where they count; calibrates.",
        ),
        click.option(
            "--calibration-seed",
            type=click.IntRange(min=0),
            metavar="N",
            help="Of the choice of texts; implies --calibrate.",
        ),
        click.option(
            "--calibration-tokens",
            type=click.IntRange(min=1),
            metavar="N",
            help="Length of the text, default: 16384; implies --calibrate.",
        ),
        click.option(
            "--calibration",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Your text, default: what the model writes; implies --calibrate.",
        ),
        click.option(
            "--calibrate/--no-calibrate",
            default=None,
            help="Choose codes by what layers read on some text; default: the profile's.",
        ),
    ):
        command = option(command)
    return command


def is_given(asked: Calibrating) -> bool:
    """Whether one of the options was given."""
    return any(value is not None for value in asked.values())


def check(asked: Calibrating) -> None:
    """Refuse options that contradict one another."""
    details = [name for name, value in asked.items() if name != "calibrate" and value is not None]
    if asked["calibrate"] is False and details:
        option = f"--{details[0].replace('_', '-')}"
        raise click.UsageError(f"{option} asks for calibration, and --no-calibrate forbids it")


def predicted(plan: Plan) -> Cost | None:
    """What calibration will take; None for a plan without."""
    if plan.calibration is None:
        return None
    from qdeploy.calibration.cost import predict

    return predict(plan)


def line(plan: Plan, cost: Cost) -> str:
    """What a plan's calibration reads and takes, in words."""
    parts = []
    if calibration := plan.calibration:
        main = ["the model's own text"] if plan.task.generates else []
        main = [calibration.texts.name] if calibration.texts else main
        parts.append(f"{calibration.tokens} tokens of {' and '.join([*main, 'general texts'])}")
    if cost.seconds is not None:
        parts.append(f"about {_duration(cost.seconds)} on this CPU")
    parts += [f"peak memory {output.size(cost.memory_bytes)}"]
    return ", ".join([*parts, f"disk {output.size(cost.disk_bytes)}"])


def _duration(seconds: float) -> str:
    """A time in words, as far as a prediction goes: `a minute`, `12 min`, `3.5 h`."""
    if seconds < 60:
        return "a minute"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
