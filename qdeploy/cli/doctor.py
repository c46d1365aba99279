"""`qdeploy doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.results import Diagnosis


@click.command("doctor")
@click.argument("target", required=False)
@click.option("--simulate", is_flag=True, help="Check simulated devices as well, and say so.")
@click.option("--profile", metavar="P", help="A profile's name or TOML file; needs TARGET.")
@click.option("--timeout", type=options.Finite(min=0, min_open=True), metavar="S",
              help="Deadline of one case in seconds; default: 300.")  # fmt: skip
@options.results_file
@options.as_json
def command(
    target: str | None,
    simulate: bool,
    profile: str | None,
    timeout: float | None,
    file: Path | None,
    as_json: bool,
) -> int:
    """Export, load, run and check the embedded models on every target, or on TARGET.

    Each case runs in a worker process, so that a driver's crash or hang is one line of the table.
    Exit code 0: nothing failed; 3: TARGET is absent here; 4: answers were wrong; 1: anything else
    failed.
    """
    if profile and target is None:
        raise click.UsageError("--profile needs a TARGET")

    from qdeploy.doctor import cases
    from qdeploy.doctor.examine import LIMIT, examine
    from qdeploy.results import collect_results, make_results
    from qdeploy.results.machine import describe_machine

    here = describe_machine()
    collection = collect_results(file, here) if file else None
    todo = cases.cases(target, profile_name=profile, simulate=simulate)
    rows = []
    for number, case in enumerate(todo, start=1):
        click.secho(f"[{number}/{len(todo)}] {case}", dim=True, err=True)
        rows.append(examine(case, limit=timeout or LIMIT))
    if as_json:
        output.write_json(make_results(here, rows).model_dump(mode="json"))
    else:
        _show(rows)
    if collection:
        collection.save(here, rows)
    return exit_code(rows, named=target is not None)


def exit_code(rows: Sequence[Diagnosis], *, named: bool) -> int:
    """Return the exit code. An absent target counts only where it was *named*."""
    failures = {row.failure for row in rows if row.status == "failed"}
    if failures:
        return 4 if failures == {"wrong"} else 1
    absent = all(row.status == "absent" for row in rows)
    return 3 if named and absent else 0


def _show(rows: Sequence[Diagnosis]) -> None:
    columns = ("target", "backend", "model", "device", "evidence", "status")
    table = output.table(*columns, "seconds", "message and fix", right=("seconds",))
    for row in rows:
        table.add_row(
            row.target,
            row.backend or "",
            row.model or "",
            row.device or "",
            str(row.evidence),
            row.failure or row.status,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            "\n".join(filter(None, (row.message, row.fix))),
        )
    output.console().print(table)
