"""`qdeploy matrix`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.matrix.config import Cell, Config
    from qdeploy.matrix.run import CellOutcome
    from qdeploy.matrix.steps import Name

SUBJECTS: dict[Name, tuple[str, ...]] = {
    "doctor": ("TARGET",),
    "export": ("MODEL", "--target", "TARGET"),
    "bench": ("BUNDLE",),
    "eval": ("BUNDLE", "--reference", "MODEL"),
}
"""The required arguments of the commands, by step."""


@click.command("matrix")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE",
    help="TOML with models, targets and profiles; default: the embedded models with all.",
)  # fmt: skip
@click.option(
    "--target", "targets", multiple=True, metavar="T", help="Only this one; may be repeated."
)
@click.option(
    "-o", "--output", "destination", type=click.Path(path_type=Path), metavar="DIR",
    help="Directory for the files of results; new or empty.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the combinations and run nothing.")
@click.option(
    "--github", is_flag=True,
    help="Print the workflow's jobs, for each --target or else for CPUs, and run nothing.",
)  # fmt: skip
@options.as_json
def command(
    config: Path | None,
    targets: tuple[str, ...],
    destination: Path | None,
    dry_run: bool,
    github: bool,
    as_json: bool,
) -> None:
    """Run doctor, bench and eval for each model, target and profile that this machine has.

    The others are listed with the reason. `qdeploy report DIR... -o PAGE` shows the results of
    one machine or of many. Exit code 3 if a target named in QDEPLOY_REQUIRE is absent.
    """
    from qdeploy.matrix import config as configuration

    if github:
        if config or destination:
            raise click.UsageError("--github takes no --config and no -o DIR")
        from qdeploy.matrix.github import job_matrix

        click.echo(json.dumps(job_matrix(targets)))
        return
    if destination is None and not dry_run:
        raise click.UsageError("give -o DIR, or --dry-run")
    loaded = configuration.load(config)
    cells = configuration.cells(loaded, targets, where=config)
    if dry_run or destination is None:
        _show_cells(cells, as_json=as_json)
        return

    from qdeploy.matrix import run
    from qdeploy.matrix.steps import run_step
    from qdeploy.results.machine import describe_machine

    def show_step(line: str) -> None:
        click.secho(line, dim=True, err=True)

    required = run.required(cells)
    given = _step_options(loaded, config)
    matrix = run.Matrix(loaded, destination, describe_machine, run_step, show_step, given)
    done = matrix.run(cells)
    _show_results(done, destination, as_json=as_json)
    run.judge(done, required)


def _step_options(config: Config, where: Path | None) -> dict[Name, dict[str, Any]]:
    """Parse `[arguments]` of the file with the options of the commands.

    Raises:
        InputError: a command does not know an argument, or the matrix sets it itself.
    """
    from qdeploy.errors import InputError
    from qdeploy.matrix.steps import options_of

    found: dict[Name, dict[str, Any]] = {}
    for name, subject in SUBJECTS.items():
        step = importlib.import_module(f"qdeploy.cli.{name}").command
        try:
            usual = step.make_context(name, list(subject)).params
            params = step.make_context(name, [*subject, *getattr(config.arguments, name)]).params
        except click.UsageError as error:
            why = f"arguments.{name}: {error.format_message().rstrip('.')}"
            raise InputError(why, where=where) from None
        taken = options_of(name)
        if other := [key for key in params if key not in taken and params[key] != usual[key]]:
            what = next(p for p in step.params if p.name == other[0])
            raise InputError(
                f"arguments.{name}: {what.opts[0]} cannot be given here, as the matrix sets it",
                where=where,
                fix="leave it out",
            )
        found[name] = {key: params[key] for key in params if key in taken}
    return found


def _show_cells(cells: Sequence[Cell], *, as_json: bool) -> None:
    if as_json:
        output.write_json({"cells": [_plain(cell) for cell in cells]})
        return
    table = output.table("target", "profile", "backend", "model", "absent because")
    for cell in cells:
        suffix = " (simulated)" if cell.simulate else ""
        table.add_row(cell.target.name + suffix, cell.scheme, cell.backend, cell.model, cell.absent)
    output.console().print(table)


def _show_results(done: Sequence[CellOutcome], folder: Path, *, as_json: bool) -> None:
    if as_json:
        from qdeploy.matrix.run import results_of
        from qdeploy.results.machine import describe_machine

        output.write_json(results_of(folder, describe_machine).model_dump(mode="json"))
        return
    table = output.table("target", "profile", "backend", "model", "status", "why")
    for ran in done:
        cell = ran.cell
        table.add_row(
            cell.target.name, cell.scheme, cell.backend, cell.model, ran.status, ran.message
        )
    console = output.console()
    console.print(table)
    output.console(stderr=True).print(f"next: qdeploy report {folder} -o report")


def _plain(cell: Cell) -> dict[str, str | bool | None]:
    return {
        "target": cell.target.name, "profile": cell.profile, "backend": cell.backend,
        "model": cell.model, "simulate": cell.simulate, "absent": cell.absent,
    }  # fmt: skip
