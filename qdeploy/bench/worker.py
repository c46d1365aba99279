"""The worker: loads one bundle, measures it, and sends each sample to the parent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qdeploy.bench import conditions, energy, memory, peer
from qdeploy.bench.apart import open_same
from qdeploy.bench.protocol import prompt
from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.errors import GenerationFailed, QdeployError
from qdeploy.generation.latency import Timing
from qdeploy.interface import Request, Session
from qdeploy.results import environment_of
from qdeploy.system import bandwidth
from qdeploy.system.parent import Parent

Task = Literal["load", "measure", "peer"]


@dataclass(frozen=True)
class Job:
    """The job of one worker.

    Attributes:
        task: `load` the bundle and measure memory bandwidth; `measure` it; or measure its `peer`.
        digest: of the bundle; another bundle at the same path is an error.
        points: pairs of prompt and new tokens, ascending.
        context: tokens that the session must hold.
        threads: CPU threads; None leaves the number to the backend. A peer gets the number that
            the backend's session reported.
    """

    task: Task
    bundle: str
    digest: str
    backend: str | None
    device: run.Which
    simulate: bool
    threads: int | None
    points: Sequence[Sequence[int]]
    runs: int
    context: int


def work(job: dict[str, Any], parent: Parent) -> None:
    """Do a `Job`, given as a dict of its fields."""
    wanted = Job(**job)
    _peer(wanted, parent) if wanted.task == "peer" else _own(wanted, parent)


def _own(job: Job, parent: Parent) -> None:
    opened = open_same(job.bundle, job.digest)
    choice = _choose(job, opened)
    begin = time.perf_counter()
    with run.load(opened, choice, context=job.context, threads=job.threads) as session:
        seconds = time.perf_counter() - begin
        open_same(job.bundle, job.digest)  # still the same one, so it was the one loaded
        parent.send(
            event="loaded", seconds=seconds, environment=_environment(opened, choice, session)
        )
        if job.task == "measure":
            _measure(job, parent, _runner(session), opened, choice, session)
    if job.task == "load":
        parent.send(event="bandwidth", bytes_per_s=bandwidth.read_bytes_per_s())


def _runner(session: Session) -> peer.Generate:
    def generate(ids: Sequence[int], new: int) -> Timing:
        request = Request(tuple(ids), new)
        start = time.perf_counter()
        return Timing(start, tuple(t.timestamp for t in session.generate(request)))

    return generate


def _peer(job: Job, parent: Parent) -> None:
    opened = open_same(job.bundle, job.digest)
    choice = _choose(job, opened)
    found = peer.find(opened)
    try:
        generate = peer.load(found, opened.path, choice.device.id, job.threads)
        open_same(job.bundle, job.digest)
        parent.send(
            event="loaded", seconds=None, environment={"peer": peer.title(found, job.threads)}
        )
        _measure(job, parent, generate, opened, choice, None)
    except QdeployError:
        raise
    except Exception as error:
        raise GenerationFailed(
            f"{type(error).__name__}: {error}", where=peer.title(found)
        ) from error


def _choose(job: Job, opened: Bundle) -> run.Choice:
    return run.choose(opened, backend=job.backend, device=job.device, simulate=job.simulate)


def _measure(
    job: Job,
    parent: Parent,
    generate: peer.Generate,
    opened: Bundle,
    choice: run.Choice,
    session: Session | None,
) -> None:
    """Warm up and measure at every point. Each sample is sent at once."""
    vocab = opened.manifest.model.vocab_size
    used = energy.find(choice.target, choice.devices)
    elsewhere = choice.backend.addressed  # what this process takes says nothing of the server
    for index, (length, new) in enumerate(job.points):
        _checked(generate(prompt(length, vocab, -1), new), new)
        parent.send(event="warm", point=index)
        begin = conditions.now()
        used.clear()
        for number in range(job.runs):
            ids = prompt(length, vocab, number)
            with used:
                timing = _checked(generate(ids, new), new)
            parent.send(
                event="sample",
                point=index,
                ttft_ms=timing.ttft_ms,
                inter_token_latencies_ms=timing.inter_token_latencies_ms(),
            )
        end = conditions.now()
        parent.send(
            event="point",
            point=index,
            peak_memory_bytes=None if elsewhere else memory.peak_resident_bytes(),
            device_peak_memory_bytes=session.device_peak_memory_bytes() if session else None,
            energy_joules=used.joules,
            energy_source=used.source,
            threads=None if elsewhere else memory.threads(),
            load_average=conditions.load(begin, end),
            cpu_steal=conditions.steal(begin, end),
        )


def _checked(timing: Timing, new: int) -> Timing:
    if len(timing.stamps) != new:
        raise GenerationFailed(
            f"the runtime made {len(timing.stamps)} of {new} tokens, with nothing to stop it"
        )
    if not (timing.ttft_ms and timing.tpot_ms):
        raise GenerationFailed("no time passed while the runtime made tokens, so none was measured")
    return timing


def _environment(opened: Bundle, choice: run.Choice, session: Session) -> Mapping[str, Any]:
    """The fields of `results.Environment`, and the target's kind."""
    found = environment_of(opened, choice, session)
    return {"kind": choice.target.kind, **found.model_dump(mode="json")}
