"""Make rows of results from the events of the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from qdeploy import registry
from qdeploy.bench.load.goodput import is_good
from qdeploy.bench.load.protocol import LoadPoint, LoadProtocol
from qdeploy.bundle import Bundle
from qdeploy.results import (
    Conditions,
    Environment,
    Histogram,
    Load,
    LoadProcess,
    LoadSample,
    Percentiles,
    artifact_of,
)
from qdeploy.targets import SERVER

Event = dict[str, Any]
MOST_MESSAGES, MOST_CHARACTERS = 20, 300
"""Bounds of what a row keeps of the messages of failed requests."""
OTHERS = "others"


@dataclass
class LoadRecord:
    """The events of all workers for one bundle.

    Attributes:
        environment: the fields of `Environment`, from the first load.
        serves: requests that the session serves at once.
        points: by the index of the load, the event of each process.
    """

    bundle: Bundle
    environment: Event = field(default_factory=dict)
    serves: int = 1
    points: dict[int, list[Event]] = field(default_factory=dict)


def make_rows(record: LoadRecord, protocol: LoadProtocol, interrupted: str | None) -> list[Load]:
    """Make one row for each load that was measured.

    *interrupted* is the reason why rounds are missing; it is ignored for complete loads.
    """
    rows = []
    for index, point in enumerate(protocol.points):
        events = record.points.get(index, [])
        if events:
            reason = interrupted if len(events) < protocol.processes else None
            rows.append(_row(record, point, events, protocol, reason))
    return rows


def _row(
    record: LoadRecord,
    point: LoadPoint,
    events: Sequence[Event],
    protocol: LoadProtocol,
    interrupted: str | None,
) -> Load:
    samples = tuple(
        LoadSample(process=number, **sample)
        for number, event in enumerate(events)
        for sample in event["samples"]
    )
    processes = tuple(_process(event) for event in events)
    target = registry.targets().get(record.environment["target"])
    served = target is not None and target.kind == SERVER
    good = [s for s in samples if is_good(s, protocol.goodput)]
    latencies = [Histogram.model_validate(event["inter_token_latencies"]) for event in events]
    return Load(
        artifact=artifact_of(record.bundle, served=served),
        environment=Environment.model_validate(record.environment),
        conditions=_conditions(events),
        protocol=protocol.as_dict(),
        protocol_hash=protocol.hash,
        concurrency=point.concurrency,
        rate=point.rate,
        serves=record.serves,
        prompt_tokens=protocol.prompt_tokens,
        new_tokens=protocol.new_tokens,
        samples=samples,
        processes=processes,
        failures=_failures(events),
        interrupted=interrupted,
        requests_per_s=_per_second(samples, processes),
        output_tokens_per_s=_per_second(samples, processes, tokens=True),
        goodput_per_s=_per_second(good, processes) if protocol.goodput else None,
        ttft_ms=_percentiles([s.ttft_ms for s in samples]),
        tpot_ms=_percentiles([s.tpot_ms for s in samples]),
        inter_token_latency_ms=_merged(latencies).percentiles(),
        e2e_ms=_percentiles([s.e2e_ms for s in samples]),
        peak_memory_bytes=_largest(events, "peak_memory_bytes"),
        device_peak_memory_bytes=_largest(events, "device_peak_memory_bytes"),
    )


def _process(event: Event) -> LoadProcess:
    return LoadProcess.model_validate(
        {name: event[name] for name in LoadProcess.model_fields if name in event}
    )


def _per_second(
    samples: Sequence[LoadSample], processes: Sequence[LoadProcess], *, tokens: bool = False
) -> float:
    """Requests or new tokens per second of a process; median over the processes."""
    amounts = [0] * len(processes)
    for sample in samples:
        amounts[sample.process] += sample.new_tokens if tokens else 1
    return median(
        amount / process.duration_s if process.duration_s else 0.0
        for amount, process in zip(amounts, processes, strict=True)
    )


def _percentiles(values: Sequence[float]) -> Percentiles | None:
    import numpy as np

    if not values:
        return None
    p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist()
    return Percentiles(count=len(values), p50=p50, p90=p90, p99=p99)


def _merged(histograms: Sequence[Histogram]) -> Histogram:
    counts: Counter[int] = Counter()
    for histogram in histograms:
        counts.update(dict(histogram.bins))
    return Histogram.counted(counts)


def _failures(events: Sequence[Event]) -> dict[str, int]:
    """Count by message. Of very many different ones, the rarer are counted together."""
    counts: Counter[str] = Counter()
    for event in events:
        for message, count in event["failures"].items():
            counts[" ".join(message.split())[:MOST_CHARACTERS]] += count
    named = dict(counts.most_common(MOST_MESSAGES))
    rest = counts.total() - sum(named.values())
    return {**named, OTHERS: rest} if rest else named


def _conditions(events: Sequence[Mapping[str, Any]]) -> Conditions:
    steals = [e["cpu_steal"] for e in events if e["cpu_steal"] is not None]
    loads = [e["load_average"] for e in events if e["load_average"] is not None]
    return Conditions(
        load_average=(loads[0][0], loads[-1][1]) if loads else None,
        cpu_steal=mean(steals) if steals else None,
    )


def _largest(events: Sequence[Mapping[str, Any]], key: str) -> int | None:
    return max((e[key] for e in events if e[key] is not None), default=None)
