"""The worker: loads one bundle and measures it under each load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from qdeploy.bench import conditions, memory
from qdeploy.bench.apart import open_same
from qdeploy.bench.load.clients import Outcome, Places, Send, send_all
from qdeploy.bench.load.protocol import WARM_UP, LoadPoint, LoadProtocol, Planned
from qdeploy.deploy import run
from qdeploy.interface import Request, Session
from qdeploy.results import Histogram, environment_of
from qdeploy.system.parent import Parent


@dataclass(frozen=True)
class LoadJob:
    """The job of one worker.

    Attributes:
        digest: of the bundle; another bundle at the same path is an error.
        number: of the round.
        protocol: the fields of the `LoadProtocol`.
    """

    bundle: str
    digest: str
    number: int
    protocol: Mapping[str, Any]
    backend: str | None
    device: run.Which
    simulate: bool
    threads: int | None


def work(job: dict[str, Any], parent: Parent) -> None:
    """Do a `LoadJob`, given as a dict of its fields."""
    wanted = LoadJob(**job)
    fields = dict(wanted.protocol)
    fields["concurrencies"] = tuple(fields["concurrencies"])
    protocol = LoadProtocol(**fields)
    opened = open_same(wanted.bundle, wanted.digest)
    choice = run.choose(
        opened, backend=wanted.backend, device=wanted.device, simulate=wanted.simulate
    )
    most = max(protocol.concurrencies)
    context = sum(protocol.longest)
    with run.load(
        opened, choice, context=context, threads=wanted.threads, concurrency=most
    ) as session:
        open_same(wanted.bundle, wanted.digest)  # still the same one, so it was the one loaded
        parent.send(
            event="loaded",
            environment=environment_of(opened, choice, session).model_dump(mode="json"),
            serves=session.concurrency,
        )
        for index, point in enumerate(protocol.points):
            elsewhere = choice.backend.addressed
            _measure(parent, session, protocol, index, point, wanted.number, elsewhere=elsewhere)


def _measure(
    parent: Parent,
    session: Session,
    protocol: LoadProtocol,
    index: int,
    point: LoadPoint,
    number: int,
    *,
    elsewhere: bool,
) -> None:
    """Measure one load. What this process takes says nothing of a session *elsewhere*."""
    vocab, send = session.limits.vocab_size, sender(session)
    send_all(protocol.planned(point, WARM_UP, vocab), point.concurrency, send)
    parent.send(event="warm", point=index)
    begin = conditions.now()
    outcomes = send_all(
        protocol.planned(point, number, vocab),
        point.concurrency,
        send,
        arrivals=protocol.arrivals(point),
    )
    end = conditions.now()
    parent.send(
        event="point",
        point=index,
        peak_memory_bytes=None if elsewhere else memory.peak_resident_bytes(),
        device_peak_memory_bytes=session.device_peak_memory_bytes(),
        threads=None if elsewhere else memory.threads(),
        load_average=conditions.load(begin, end),
        cpu_steal=conditions.steal(begin, end),
        **summary(outcomes),
    )


def sender(session: Session) -> Send:
    """Send requests to a session; those beyond what it serves at once wait for their turn."""
    places = Places(session.concurrency)

    def send(planned: Planned) -> Iterator[float]:
        request = Request(planned.prompt_ids, planned.new_tokens)
        with places, closing(session.generate(request)) as tokens:
            for token in tokens:
                yield token.timestamp

    return send


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What an event says of the outcomes: every request, and a histogram of the times between.

    Requests that failed are in `failures` alone.
    """
    begin = min(outcome.arrived for outcome in outcomes)
    whole = [outcome for outcome in outcomes if outcome.failure is None]
    failures: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.failure is not None:
            failures[outcome.failure] = failures.get(outcome.failure, 0) + 1
    return {
        "duration_s": max((o.stamps[-1] for o in whole), default=begin) - begin,
        "samples": [
            {
                "start_s": o.arrived - begin,
                "ttft_ms": 1000 * (o.stamps[0] - o.arrived),
                "e2e_ms": 1000 * (o.stamps[-1] - o.arrived),
                "prompt_tokens": len(o.planned.prompt_ids),
                "new_tokens": len(o.stamps),
            }
            for o in whole
        ],
        "inter_token_latencies": Histogram.of(
            1000 * (later - earlier)
            for o in whole
            for earlier, later in zip(o.stamps, o.stamps[1:], strict=False)
        ).model_dump(mode="json"),
        "failures": failures,
    }
