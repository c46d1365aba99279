"""The parent: runs one worker after another, in rounds over the bundles, and collects events."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from qdeploy.bench import grid, peer
from qdeploy.bench.apart import measure_apart, with_context
from qdeploy.bench.protocol import Protocol
from qdeploy.bench.rows import BundleRecord, make_rows
from qdeploy.bench.worker import Job, Task, work
from qdeploy.bundle import Bundle
from qdeploy.deploy import cache, run
from qdeploy.errors import InputError, OutputError, QdeployError
from qdeploy.results import Bench, Machine, Sample
from qdeploy.system.worker import Event

UNFINISHED = "not finished yet"
STOPPED = "stopped by the user"


@dataclass(frozen=True)
class BenchOptions:
    """Where the bundles run, see `run.choose`; with *peer*, the runtimes' own libraries as well."""

    backend: str | None = None
    device: run.Which = 0
    simulate: bool = False
    peer: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class BenchOutcome:
    """The results of a benchmark.

    Attributes:
        machine: with the highest memory bandwidth of all rounds.
        rows: the rows of each bundle, in order.
        failure: the error that ended the benchmark early, or the peer's; None if nothing failed.
    """

    machine: Machine
    rows: tuple[tuple[Bench, ...], ...]
    failure: QdeployError | None = None

    @property
    def samples(self) -> int:
        return sum(len(row.samples) for row in self.all_rows())

    def all_rows(self) -> tuple[Bench, ...]:
        return tuple(row for of_bundle in self.rows for row in of_bundle)


Save = Callable[["BenchOutcome"], None]
OnStep = Callable[[str, int, int], None]
"""Called with the last step, the number of steps done, and their total."""


def check_bench(bundles: Sequence[Bundle], protocol: Protocol, options: BenchOptions) -> None:
    """Check, before anything runs, that the bundles can be measured.

    Raises:
        InputError: a grid point does not fit a bundle, a bundle is given twice, or a peer is used
            with a simulated device or with several devices.
        TargetUnavailable: the peer is not installed.
    """
    if options.peer and options.simulate:
        raise InputError(
            "a peer cannot run on a simulated device", fix="leave out --peer or --simulate"
        )
    if options.peer and not isinstance(options.device, int | str):
        raise InputError("a peer runs on one device", fix="leave out --peer or --devices")
    if len({bundle.digest for bundle in bundles}) < len(bundles):
        raise InputError("the same bundle is given twice", fix="--runs and --processes repeat it")
    for bundle in bundles:
        grid.check(protocol.points, bundle.manifest.model.context_length, bundle.path)
        if options.peer:
            peer.find(bundle)


def measure(
    bundles: Sequence[Bundle],
    protocol: Protocol,
    machine: Machine,
    options: BenchOptions,
    *,
    save: Save,
    on_step: OnStep,
) -> BenchOutcome:
    """Run the protocol.

    *save* gets the results so far after every bundle's turn. If a worker fails after the first
    sample, the outcome holds the samples until then, and the error.

    Raises:
        QdeployError: a worker failed before the first sample.
    """
    records = [BundleRecord(bundle) for bundle in bundles]

    def outcome(interrupted: str | None, failure: QdeployError | None = None) -> BenchOutcome:
        fastest = max((speed for record in records for speed in record.bandwidths), default=None)
        here = machine.model_copy(update={"bandwidth_bytes_per_s": fastest})
        made = (tuple(make_rows(record, protocol, here, interrupted)) for record in records)
        return BenchOutcome(here, tuple(made), failure)

    turns = _Turns(protocol, options, len(bundles), on_step)
    try:
        for number in range(protocol.processes):
            for record in records:
                turns.take(number, record)
                save(outcome(UNFINISHED))
    except KeyboardInterrupt:
        save(outcome(STOPPED))
        raise
    except QdeployError as failure:
        if not any(record.samples for record in records):
            raise
        ended = outcome(failure.what, with_context("measuring ended early", failure))
    else:
        of_peers = (record.peer_failure for record in records if record.peer_failure)
        ended = outcome(None, next((with_context("the peer failed", f) for f in of_peers), None))
    try:
        save(ended)
    except OutputError as failure:  # the caller can still show the results
        ended = replace(ended, failure=failure)
    return ended


class _Turns:
    """Runs the turns: one bundle in one round, with cold load, measurement and peer."""

    def __init__(
        self, protocol: Protocol, options: BenchOptions, bundles: int, on_step: OnStep
    ) -> None:
        self._protocol, self._options, self._on_step = protocol, options, on_step
        a_process = len(protocol.points) * protocol.runs
        self._steps = bundles * protocol.processes * (1 + a_process * (2 if options.peer else 1))
        self._done = 0

    def take(self, number: int, record: BundleRecord) -> None:
        with cache.scratch("bench") as empty:
            environment = {cache.ENVIRONMENT: str(empty)}
            drop_cached_pages(record.bundle)
            self._run("load", number, record, environment)
            self._run("measure", number, record, environment)
            if self._options.peer and record.peer_failure is None:
                try:
                    self._run("peer", number, record, environment)
                except QdeployError as failure:  # the bundle itself is still measured
                    record.peer_failure = failure

    def _run(
        self, task: Task, number: int, record: BundleRecord, environment: dict[str, str]
    ) -> None:
        def hear(event: Event) -> None:
            listen(event, task, number, record)
            if event["event"] == "sample" or (task == "load" and event["event"] == "loaded"):
                self._done += 1
            title = f"{record.bundle.path.name}: {event['event']}, {task} {number + 1}"
            self._on_step(title, self._done, self._steps)

        run_job(self._job(task, record), environment, hear)

    def _job(self, task: Task, record: BundleRecord) -> Job:
        points = self._protocol.points
        return Job(
            task=task,
            bundle=str(record.bundle.path.absolute()),
            digest=record.bundle.digest,
            backend=self._options.backend,
            device=self._options.device,
            simulate=self._options.simulate,
            threads=_threads_of(record) if task == "peer" else self._options.threads,
            points=[list(point) for point in points],
            runs=self._protocol.runs,
            context=max(point.total for point in points),
        )


def _threads_of(record: BundleRecord) -> int | None:
    """Return the number of CPU threads that the bundle's own session computed with, if known."""
    threads = record.environment.get("placement", {}).get("threads")
    return None if threads is None else int(threads)


def run_job(job: Job, environment: Mapping[str, str], hear: Callable[[Event], None]) -> None:
    """Run one worker; *hear* gets each of its events. Raises as `measure_apart`."""
    measure_apart(work, asdict(job), environment, hear)


def listen(event: Event, task: Task, number: int, record: BundleRecord) -> None:
    """Store the data of one event."""
    match event["event"], task:
        case "loaded", "peer":
            record.peer = event["environment"]["peer"]
        case "loaded", _:
            record.environment = record.environment or event["environment"]
            loads = record.loads_cold if task == "load" else record.loads_warm
            loads.append(event["seconds"])
        case "bandwidth", _:
            record.bandwidths.append(event["bytes_per_s"])
        case "sample", _:
            samples = record.peer_samples if task == "peer" else record.samples
            sample = Sample(
                process=number,
                ttft_ms=event["ttft_ms"],
                inter_token_latencies_ms=event["inter_token_latencies_ms"],
            )
            samples.setdefault(event["point"], []).append(sample)
        case "point", "measure":
            record.facts.setdefault(event["point"], []).append(event)


def drop_cached_pages(bundle: Bundle) -> None:
    """Drop the bundle's files from the page cache, so that they are read from the disk again.

    Only Linux has the system call. Elsewhere a cold load may find the files in memory.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for name in bundle.manifest.files:
        with contextlib.suppress(OSError):
            file = os.open(Path(bundle.path) / name, os.O_RDONLY)
            try:
                os.fsync(file)  # pages that are not written yet cannot be dropped
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)
