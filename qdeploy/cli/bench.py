"""`qdeploy bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from qdeploy.cli import options, output

if TYPE_CHECKING:
    from qdeploy.bench.parent import BenchOutcome
    from qdeploy.bench.protocol import Protocol
    from qdeploy.deploy.run import Which


@click.command("bench")
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path))
@click.option("--prompt", "--prompt-tokens", metavar="N,...",
              help="Tokens of the prompts; default: those of 128,512 that fit.")  # fmt: skip
@click.option("--new", "--new-tokens", metavar="N,...", help="Tokens to generate; default: 64.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Measured runs at every point, in every process.")  # fmt: skip
@click.option("--processes", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Rounds; each starts new worker processes.")  # fmt: skip
@click.option("--concurrency", metavar="N,...",
              help="Measure many requests at once: so many clients, e.g. 1,8,32.")  # fmt: skip
@click.option("--rate", type=options.Finite(0, min_open=True), metavar="R",
              help="Mean arrivals per second, which do not wait for answers.")  # fmt: skip
@click.option("--requests", type=click.IntRange(min=1), metavar="N",
              help="Requests at every load; default: 4 a client, at least 8.")  # fmt: skip
@click.option("--shared", type=options.Finite(0, 1), default=0.0, metavar="S",
              help="Share of the prompt that all requests have in common, 0 to 1.")  # fmt: skip
@click.option("--vary", type=options.Finite(0, 1, max_open=True), default=0.0, metavar="V",
              help="Lengths lie within this share of the mean, 0 to 1.")  # fmt: skip
@click.option("--goodput", metavar="LIMITS",
              help="Count answers within these milliseconds, e.g. ttft:500,tpot:50.")  # fmt: skip
@options.device
@options.endpoint
@options.backend
@options.simulate
@options.threads
@click.option("--peer", is_flag=True,
              help="Take turns with the runtime's own library, without qdeploy.")  # fmt: skip
@click.option("--machine", metavar="NAME", help="Name of this machine; default: its host name.")
@options.results_file
@options.as_json
def command(
    bundles: tuple[Path, ...],
    prompt: str | None,
    new: str | None,
    runs: int,
    processes: int,
    concurrency: str | None,
    rate: float | None,
    requests: int | None,
    shared: float,
    vary: float,
    goodput: str | None,
    device: Which,
    endpoint: str | None,
    endpoint_model: str | None,
    backend: str | None,
    simulate: bool,
    threads: int | None,
    peer: bool,
    machine: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Measure the speed and cost of BUNDLES by a written protocol (docs/benchmarking.md).

    Several bundles take turns, so that a drift of the machine affects all of them. FILE is written
    after every turn. With --concurrency or --rate, throughput and latency are measured under load.
    With --endpoint and no bundle, the server does the text and counts the tokens.
    """
    device = options.at_endpoint(endpoint, endpoint_model, device)
    if not bundles and endpoint is None:
        raise click.UsageError("Missing argument 'BUNDLES...'.")
    if not bundles:
        from qdeploy.cli import remote

        remote.refuse({
            "concurrency": concurrency, "rate": rate, "backend": backend, "simulate": simulate,
            "threads": threads, "peer": peer, "machine": machine, "output": file,
        })  # fmt: skip
        remote.bench(endpoint or "", endpoint_model, prompt, new, runs, as_json=as_json)
        return
    if concurrency is not None or rate is not None:
        from qdeploy.bench.load.parent import LoadOptions
        from qdeploy.cli.bench_load import LoadWish, protocol_of, run_load

        _refuse_with_load(peer=peer)
        wish = LoadWish(concurrency, rate, requests, shared, vary, goodput)
        run_load(
            bundles,
            protocol_of(wish, prompt, new, processes),
            LoadOptions(backend, device, simulate, threads),
            machine=machine,
            file=file,
            as_json=as_json,
        )
        return
    _refuse_without_load()
    import qdeploy
    from qdeploy.bench.parent import BenchOptions, check_bench, measure
    from qdeploy.bench.protocol import make_protocol
    from qdeploy.cli.bench_table import show
    from qdeploy.cli.progress import BenchProgress
    from qdeploy.errors import GenerationFailed
    from qdeploy.results import collect_results, make_results
    from qdeploy.results.machine import describe_machine

    here = describe_machine(machine)
    collection = collect_results(file, here, named=machine is not None) if file else None
    opened = [qdeploy.open(path, full=True) for path in bundles]
    protocol = make_protocol(opened, prompt, new, runs, processes)
    chosen = BenchOptions(backend, device, simulate, peer, threads)
    check_bench(opened, protocol, chosen)

    def save(outcome: BenchOutcome) -> None:
        if collection:
            collection.save(outcome.machine, outcome.all_rows())

    with BenchProgress(quiet=as_json) as progress:
        outcome = measure(opened, protocol, here, chosen, save=save, on_step=progress.advance)
    if as_json:
        made = make_results(outcome.machine, outcome.all_rows())
        output.write_json(made.model_dump(mode="json"))
    else:
        show(bundles, outcome)
    if outcome.failure is not None:
        raise GenerationFailed(
            outcome.failure.what,
            where=outcome.failure.where,
            fix=_kept(outcome, protocol, len(bundles), file),
        )


def _refuse_with_load(*, peer: bool) -> None:
    """Options of single requests say nothing about a load."""
    if peer:
        raise click.UsageError("--peer is of single requests; leave it or --concurrency out")
    _refuse_given(("runs",), "is of single requests; a load has --requests")


def _refuse_without_load() -> None:
    names = ("requests", "shared", "vary", "goodput")
    _refuse_given(names, "is of a load; add --concurrency or --rate")


def _refuse_given(names: tuple[str, ...], why: str) -> None:
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} {why}")


def _kept(outcome: BenchOutcome, protocol: Protocol, bundles: int, file: Path | None) -> str:
    from qdeploy.errors import OutputError

    asked = bundles * len(protocol.points) * protocol.runs * protocol.processes
    written = file is not None and not isinstance(outcome.failure, OutputError)
    place = f"in {file}" if written else "above"
    fix = f"{outcome.failure.fix}; " if outcome.failure and outcome.failure.fix else ""
    return f"{fix}what was measured is kept {place}: {outcome.samples} of {asked} runs"
