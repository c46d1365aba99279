"""The parent: runs one worker after another, in rounds over the bundles, and collects events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from qdeploy.bench.apart import measure_apart, with_context
from qdeploy.bench.load.protocol import LoadProtocol
from qdeploy.bench.load.rows import LoadRecord, make_rows
from qdeploy.bench.load.worker import LoadJob, work
from qdeploy.bench.parent import STOPPED, UNFINISHED
from qdeploy.bundle import Bundle
from qdeploy.deploy import cache, run
from qdeploy.errors import GenerationFailed, OutputError, QdeployError
from qdeploy.results import Load
from qdeploy.system.worker import Event


@dataclass(frozen=True)
class LoadOptions:
    """Where the bundles run; see `run.choose`."""

    backend: str | None = None
    device: run.Which = 0
    simulate: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class LoadOutcome:
    """The results of a load benchmark.

    Attributes:
        rows: the rows of each bundle, in order.
        failure: the error that ended the benchmark early; None if nothing failed.
    """

    rows: tuple[tuple[Load, ...], ...]
    failure: QdeployError | None = None

    def all_rows(self) -> tuple[Load, ...]:
        return tuple(row for of_bundle in self.rows for row in of_bundle)


def measure_load(
    bundles: Sequence[Bundle],
    protocol: LoadProtocol,
    options: LoadOptions,
    *,
    save: Callable[[LoadOutcome], None],
    on_step: Callable[[str, int, int], None],
) -> LoadOutcome:
    """Run the protocol.

    *save* gets the results so far after every bundle's turn; *on_step* the last step, the number of
    loads measured, and their total. If a worker fails after the first load, or every request of a
    load, the outcome holds what was measured, and the error.

    Raises:
        QdeployError: a worker failed before the first load was measured.
    """
    records = [LoadRecord(bundle) for bundle in bundles]
    total, done = len(bundles) * protocol.processes * len(protocol.points), 0

    def outcome(interrupted: str | None, failure: QdeployError | None = None) -> LoadOutcome:
        return LoadOutcome(
            tuple(tuple(make_rows(record, protocol, interrupted)) for record in records), failure
        )

    def turn(number: int, record: LoadRecord) -> None:
        def hear(event: Event) -> None:
            nonlocal done
            listen(event, record)
            done += event["event"] == "point"
            on_step(f"{record.bundle.path.name}: {event['event']}, {number + 1}", done, total)

        with cache.scratch("bench") as empty:
            environment = {cache.ENVIRONMENT: str(empty)}
            measure_apart(work, asdict(_job(number, record, protocol, options)), environment, hear)

    try:
        for number in range(protocol.processes):
            for record in records:
                turn(number, record)
                save(outcome(UNFINISHED))
    except KeyboardInterrupt:
        save(outcome(STOPPED))
        raise
    except QdeployError as failure:
        if not any(record.points for record in records):
            raise
        ended = outcome(failure.what, with_context("measuring ended early", failure))
    else:
        ended = outcome(None)
    try:
        save(ended)
    except OutputError as failure:  # the caller can still show the results
        ended = replace(ended, failure=failure)
    return _with_nothing_hidden(ended)


def listen(event: Event, record: LoadRecord) -> None:
    """Store the data of one event."""
    match event["event"]:
        case "loaded":
            record.environment = record.environment or event["environment"]
            record.serves = event["serves"]
        case "point":
            record.points.setdefault(event["point"], []).append(event)


def _with_nothing_hidden(outcome: LoadOutcome) -> LoadOutcome:
    """Where not one request of a row was answered, that is the outcome's failure."""
    for row in outcome.all_rows():
        if not row.samples and outcome.failure is None:
            message = next(iter(row.failures))
            told = f"all {row.failed} requests of {row.point} failed: {message}"
            return replace(outcome, failure=GenerationFailed(told))
    return outcome


def _job(number: int, record: LoadRecord, protocol: LoadProtocol, options: LoadOptions) -> LoadJob:
    return LoadJob(
        bundle=str(record.bundle.path.absolute()),
        digest=record.bundle.digest,
        number=number,
        protocol=asdict(protocol),
        **asdict(options),
    )
