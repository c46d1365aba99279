"""`qdeploy bench`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdeploy.bench.parent import Outcome
    from qdeploy.bench.protocol import Protocol
    from qdeploy.bundle import Bundle


@click.command("bench")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--prompt", "--prompt-tokens", metavar="N,...",
              help="Tokens of the prompts; default: those of 128,512 that fit.")  # fmt: skip
@click.option("--new", "--new-tokens", metavar="N,...", help="Tokens to make; default: 64.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Measured runs at every point, in every process.")  # fmt: skip
@click.option("--processes", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Rounds, each with processes of its own.")  # fmt: skip
@options.device
@options.backend
@options.simulate
@click.option("--peer", is_flag=True,
              help="Take turns with the runtime's own library, without qdeploy.")  # fmt: skip
@click.option("--machine", metavar="NAME", help="What to call this machine; default: its host's.")
@click.option("-o", "--output", "destination", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the results here, as they come.")  # fmt: skip
@options.as_json
def command(
    bundles: tuple[Path, ...],
    prompt: str | None,
    new: str | None,
    runs: int,
    processes: int,
    device: str,
    backend: str | None,
    simulate: bool,
    peer: bool,
    machine: str | None,
    destination: Path | None,
    as_json: bool,
) -> None:
    """Measure the speed and cost of BUNDLES by a written protocol (docs/benchmarking.md).

    Several bundles take turns, so that a drift of the machine meets all of them.
    """
    from qdeploy import bundle, results
    from qdeploy import machine as this_machine
    from qdeploy.bench import parent
    from qdeploy.cli.bench_table import show
    from qdeploy.cli.progress import BenchProgress
    from qdeploy.errors import GenerationFailed

    _check_destination(destination)
    opened = [bundle.open_bundle(path, full=True) for path in bundles]
    protocol = _protocol(prompt, new, runs, processes, opened)
    chosen = parent.Options(backend, device, simulate, peer)
    parent.check(opened, protocol, chosen)

    def save(outcome: Outcome) -> None:
        if destination is not None:
            results.write(results.make(outcome.machine, outcome.all_rows()), destination)

    here = this_machine.describe(machine)
    with BenchProgress(quiet=as_json) as progress:
        outcome = parent.measure(opened, protocol, here, chosen, save=save, tell=progress.advance)
    if as_json:
        made = results.make(outcome.machine, outcome.all_rows())
        output.write_json(made.model_dump(mode="json"))
    else:
        show(bundles, outcome)
    if outcome.failure is not None:
        raise GenerationFailed(
            f"measuring ended early: {outcome.failure.what}",
            where=outcome.failure.where,
            fix=_kept(outcome, protocol, len(bundles), destination),
        )


def _protocol(
    prompt: str | None, new: str | None, runs: int, processes: int, opened: Sequence[Bundle]
) -> Protocol:
    from qdeploy.bench import grid
    from qdeploy.bench.protocol import Protocol

    answers = grid.NEW if new is None else grid.parse(new, "--new", least=grid.FEWEST_NEW)
    if prompt is not None:
        prompts = grid.parse(prompt, "--prompt")
    else:
        context = min(b.manifest.model.context_length for b in opened)
        prompts = grid.fitting(grid.PROMPTS, answers, context)
    return Protocol(prompts, answers, runs, processes)


def _check_destination(destination: Path | None) -> None:
    """Refuse, before anything runs, what cannot be written, and to replace what is no results."""
    from qdeploy import results
    from qdeploy.errors import InputError, OutputError

    if destination is None:
        return
    if not destination.exists():
        _check_folder(destination.absolute().parent)
        return
    try:
        results.read(destination)
    except InputError as error:
        raise OutputError(
            f"output exists and cannot be replaced: {error.what}",
            where=destination,
            fix="choose another -o FILE",
        ) from None


def _check_folder(folder: Path) -> None:
    from qdeploy.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})",
            where=folder,
            fix="choose another -o FILE",
        ) from None


def _kept(outcome: Outcome, protocol: Protocol, bundles: int, destination: Path | None) -> str:
    from qdeploy.errors import OutputError

    asked = bundles * len(protocol.points) * protocol.runs * protocol.processes
    written = destination is not None and not isinstance(outcome.failure, OutputError)
    place = f"in {destination}" if written else "above"
    told = f"{outcome.failure.fix}; " if outcome.failure and outcome.failure.fix else ""
    return f"{told}what was measured is kept {place}: {outcome.samples} of {asked} runs"
