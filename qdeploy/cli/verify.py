"""`qdeploy verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.deploy.run import Which
    from qdeploy.verification.outcome import Outcome

FOLDER = click.Path(path_type=Path)
ONLY_AGAINST = ("adapter", "target", "device", "backend", "simulate", "threads")
"""Options of the comparison with transformers."""


@click.command("verify")
@click.argument("bundle", type=FOLDER)
@click.option("--against", metavar="MODEL",
              help="Compare with what transformers makes of this checkpoint.")  # fmt: skip
@click.option("--adapter", type=FOLDER, metavar="DIR", help="The adapter merged into the bundle.")
@options.target
@options.device
@options.backend
@options.simulate
@options.threads
@options.as_json
def command(
    bundle: Path,
    against: str | None,
    adapter: Path | None,
    target: str | None,
    device: Which,
    backend: str | None,
    simulate: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Check the sha256 of every file of BUNDLE against its manifest; exit 4 where they differ.

    With --against, also compare chats, token ids and logits with what transformers makes of the
    checkpoint that BUNDLE was exported from, and name the first layer that differs.
    """
    import qdeploy

    if against is None:
        context = click.get_current_context()
        for name in ONLY_AGAINST:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} goes with --against")
        opened = qdeploy.open(bundle, full=True)
        files = len(opened.manifest.files)
        if as_json:
            output.write_json(
                {"ok": True, "files": files, "bytes": opened.nbytes, "digest": opened.digest}
            )
        else:
            size = output.size(opened.nbytes)
            click.echo(f"{bundle}: {files} files, {size}, all as in the manifest")
        return

    from qdeploy.verification.verification import verify

    outcome = verify(
        bundle,
        against,
        adapter=adapter,
        target=target,
        device=device,
        backend=backend,
        simulate=simulate,
        threads=threads,
        stage=(lambda title: None) if as_json else (lambda title: click.echo(title, err=True)),
    )
    if as_json:
        output.write_json(outcome.as_dict())
    else:
        _show(outcome)
    outcome.check()


def _show(outcome: Outcome) -> None:
    console = output.console()
    against = " ".join(f"{name} {version}" for name, version in outcome.tools.items())
    console.print(f"{outcome.bundle} against {outcome.against}, by {against}", style="bold")
    table = output.table("part", "compared", "found", "verdict")
    for check in outcome.checks:
        skipped = f"not done: {check.skipped}" if check.skipped else None
        verdict = check.failure or skipped or "the same"
        table.add_row(check.part, check.name, check.found, verdict)
    console.print(table)
