"""`qdeploy bench --concurrency`: many requests at once, and their results as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.cli import output

if TYPE_CHECKING:
    from qdeploy.bench.load.parent import LoadOptions, LoadOutcome
    from qdeploy.bench.load.protocol import LoadProtocol
    from qdeploy.results import Load, Percentiles

COLUMNS = (
    "clients", "rate", "answered", "failed", "tok/s", "requests/s", "goodput/s", "TTFT p50", "p90",
    "p99", "TPOT p50", "ITL p50", "p90 ", "p99 ", "peak memory",
)  # fmt: skip


@dataclass(frozen=True)
class LoadWish:
    """The options of `qdeploy bench` that describe a load."""

    concurrency: str | None
    rate: float | None
    requests: int | None
    shared: float
    vary: float
    goodput: str | None


def protocol_of(
    wish: LoadWish, prompt: str | None, new: str | None, processes: int
) -> LoadProtocol:
    """Build the protocol that the options describe.

    Raises:
        InputError: a list or a limit that is none, or several lengths.
    """
    from qdeploy.bench.load.goodput import parse_goodput
    from qdeploy.bench.load.protocol import NEW, PROMPT, LoadProtocol, parse_clients

    return LoadProtocol(
        prompt_tokens=_one_length(prompt, "--prompt", PROMPT),
        new_tokens=_one_length(new, "--new", NEW),
        vary=wish.vary,
        shared=wish.shared,
        concurrencies=parse_clients(wish.concurrency),
        rate=wish.rate,
        requests=wish.requests,
        processes=processes,
        goodput=parse_goodput(wish.goodput) if wish.goodput is not None else {},
    )


def _one_length(text: str | None, option: str, default: int) -> int:
    from qdeploy.bench import grid
    from qdeploy.errors import InputError

    if text is None:
        return default
    found = grid.parse(text, option)
    if len(found) > 1:
        raise InputError(
            f"{len(found)} lengths are given, and a load has one mean length",
            where=option,
            fix=f"one number, e.g. {option} {found[0]}, and --vary for lengths around it",
        )
    return found[0]


def run_load(
    bundles: Sequence[Path],
    protocol: LoadProtocol,
    options: LoadOptions,
    *,
    machine: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Measure, save and show."""
    import qdeploy
    from qdeploy.bench.load.parent import measure_load
    from qdeploy.bench.load.protocol import check_load
    from qdeploy.cli.progress import BenchProgress
    from qdeploy.errors import GenerationFailed
    from qdeploy.results import collect_results, make_results
    from qdeploy.results.machine import describe_machine

    here = describe_machine(machine)
    collection = collect_results(file, here, named=machine is not None) if file else None
    opened = [qdeploy.open(path, full=True) for path in bundles]
    check_load(opened, protocol)

    def save(outcome: LoadOutcome) -> None:
        if collection:
            collection.save(here, outcome.all_rows())

    with BenchProgress(quiet=as_json) as progress:
        outcome = measure_load(opened, protocol, options, save=save, on_step=progress.advance)
    if as_json:
        output.write_json(make_results(here, outcome.all_rows()).model_dump(mode="json"))
    else:
        _show(bundles, outcome)
    if outcome.failure is not None:
        place = f"kept in {file}" if file else "shown above"
        fix = f"{outcome.failure.fix}; " if outcome.failure.fix else ""
        raise GenerationFailed(
            outcome.failure.what,
            where=outcome.failure.where,
            fix=f"{fix}what was measured is {place}",
        )


def _show(bundles: Sequence[Path], outcome: LoadOutcome) -> None:
    console = output.console()
    for path, rows in zip(bundles, outcome.rows, strict=True):
        if not rows:
            console.print(f"{path}: nothing was measured")
            continue
        first = rows[0]
        output.show_subject(console, path, first)
        left_out = {"rate"} if first.rate is None else set()
        left_out |= {"goodput/s"} if first.goodput_per_s is None else set()
        kept = tuple(column for column in COLUMNS if column not in left_out)
        table = output.table(*kept, "evidence", right=kept)
        for row in rows:
            cells = dict(zip(COLUMNS, _cells(row), strict=True))
            table.add_row(*(cells[column] for column in kept), str(row.environment.evidence))
        console.print(table)
        for label, text in _notes(rows):
            console.print(f"{label + ':':14} {text}")


def _cells(row: Load) -> Iterator[str]:
    yield str(row.concurrency)
    yield "" if row.rate is None else f"{row.rate:g}/s"
    yield f"{len(row.samples)}{' !' if row.interrupted else ''}"
    yield str(row.failed)
    yield f"{row.output_tokens_per_s:.1f}"
    yield f"{row.requests_per_s:.2f}"
    yield "" if row.goodput_per_s is None else f"{row.goodput_per_s:.2f}"
    yield from _three(row.ttft_ms)
    yield "" if row.tpot_ms is None else f"{row.tpot_ms.p50:.2f}"
    yield from _three(row.inter_token_latency_ms)
    yield output.size(row.peak_memory_bytes) if row.peak_memory_bytes else ""


def _three(found: Percentiles | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 3
    return tuple(f"{value:.1f}" for value in (found.p50, found.p90, found.p99))


def _notes(rows: Sequence[Load]) -> Iterator[tuple[str, str]]:
    first = rows[0]
    if first.interrupted:
        yield "incomplete", f"{first.interrupted}; rows marked ! lack rounds"
    if any(row.concurrency > row.serves for row in rows):
        yield (
            "serves",
            f"{first.serves} at once; the wait of further requests is in their TTFT",
        )
    for row in rows:
        for message, count in row.failures.items():
            yield "failed", f"{count} requests of {row.point}: {message}"
    if limits := first.protocol["goodput"]:
        text = ", ".join(f"{name} {limit:g} ms" for name, limit in limits.items())
        yield "goodput", f"answers within {text}"
    facts = first.protocol
    yield (
        "requests",
        (
            f"{facts['prompt_tokens']} prompt and {facts['new_tokens']} new tokens, within "
            f"{100 * facts['vary']:g}%; {100 * facts['shared']:g}% of the prompt is shared"
        ),
    )
    placement = first.environment.placement
    yield "placement", f"{', '.join(placement['devices'])}, by {placement['proof']}"
    yield "protocol", first.protocol_hash[:16]
