"""Create rows of results from the events of the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from qdeploy.bench.grid import Point
from qdeploy.bench.protocol import Protocol
from qdeploy.bench.statistics import spread
from qdeploy.bundle import Bundle
from qdeploy.errors import QdeployError
from qdeploy.forecast import forecast
from qdeploy.results import Bench, Conditions, Environment, Machine, Process, Sample, artifact_of
from qdeploy.targets import SERVER, Evidence

Event = dict[str, Any]
Samples = dict[int, list[Sample]]
"""Samples by the index of the grid point."""


@dataclass
class BundleRecord:
    """The events of all workers for one bundle.

    Attributes:
        environment: the fields of `Environment` and the kind of the target, from the first load.
        loads_cold, loads_warm: load times in seconds, one per round.
        bandwidths: memory read bandwidth in bytes per second, one per round.
        facts: by the index of the grid point, the last event of each process.
        peer: name and version of the peer, if there is one.
        peer_failure: the error that ended the peer's runs, if any.
    """

    bundle: Bundle
    environment: Event = field(default_factory=dict)
    loads_cold: list[float] = field(default_factory=list)
    loads_warm: list[float] = field(default_factory=list)
    bandwidths: list[float] = field(default_factory=list)
    samples: Samples = field(default_factory=dict)
    facts: dict[int, list[Event]] = field(default_factory=dict)
    peer: str | None = None
    peer_samples: Samples = field(default_factory=dict)
    peer_failure: QdeployError | None = None


def make_rows(
    record: BundleRecord, protocol: Protocol, machine: Machine, interrupted: str | None = None
) -> list[Bench]:
    """Create one row per grid point that has samples.

    *interrupted* is the reason why samples are missing; it is ignored for complete points.
    """
    required = protocol.runs * protocol.processes
    rows = []
    for index, point in enumerate(protocol.points):
        samples = record.samples.get(index, [])
        if samples:
            reason = interrupted if len(samples) < required else None
            rows.append(_row(record, index, point, samples, protocol, machine, reason))
    return rows


def _row(
    record: BundleRecord,
    index: int,
    point: Point,
    samples: Sequence[Sample],
    protocol: Protocol,
    machine: Machine,
    interrupted: str | None,
) -> Bench:
    served = record.environment["kind"] == SERVER
    artifact = artifact_of(record.bundle, served=served)
    facts = record.facts.get(index, [])
    ttft = spread([_ttft(s) for s in samples])
    tpot = spread([_tpot(s) for s in samples])
    decode = 1000 / tpot.p50
    joules = [f["energy_joules"] for f in facts if f["energy_joules"] is not None]
    peer_samples = record.peer_samples.get(index, [])
    utilization = None
    if (
        artifact.bytes_per_token
        and machine.bandwidth_bytes_per_s
        and record.environment["kind"] == "cpu"
    ):
        utilization = artifact.bytes_per_token * decode / machine.bandwidth_bytes_per_s
    return Bench(
        artifact=artifact,
        environment=Environment.model_validate(
            {k: v for k, v in record.environment.items() if k != "kind"}
        ),
        conditions=_conditions(facts),
        protocol=protocol.as_dict(),
        protocol_hash=protocol.hash,
        prompt_tokens=point.prompt,
        new_tokens=point.new,
        samples=tuple(samples),
        processes=tuple(_process(record, i, f) for i, f in enumerate(facts)),
        interrupted=interrupted,
        load_cold_s=median(record.loads_cold) if record.loads_cold else None,
        load_warm_s=median(record.loads_warm) if record.loads_warm else None,
        ttft_ms=ttft,
        tpot_ms=tpot,
        inter_token_latency_ms=spread([t for s in samples for t in s.inter_token_latencies_ms]),
        prefill_tokens_per_s=1000 * point.prompt / ttft.p50,
        decode_tokens_per_s=decode,
        peak_memory_bytes=_largest(facts, "peak_memory_bytes"),
        device_peak_memory_bytes=_largest(facts, "device_peak_memory_bytes"),
        energy_joules=sum(joules) if joules else None,
        energy_source=facts[0]["energy_source"] if facts else None,
        memory_bandwidth_utilization=utilization,
        peer=record.peer if peer_samples else None,
        peer_samples=tuple(peer_samples),
        peer_failure=record.peer_failure.what if record.peer_failure else None,
        ratio=ratios(samples, peer_samples) or None,
        predicted=_predicted(record, point, machine),
    )


def _predicted(record: BundleRecord, point: Point, machine: Machine) -> dict[str, float] | None:
    """Decode speed by the roofline model, if the efficiency of the backend here is known."""
    environment = record.environment
    if environment["kind"] != "cpu" or environment["evidence"] != str(Evidence.DEVICE):
        return None
    planned, cached = record.bundle.manifest.plan, point.prompt + point.new // 2
    speed = forecast.decode_here(
        planned, environment["backend"], cached, machine.bandwidth_bytes_per_s
    )
    return None if speed is None else {"decode_tokens_per_s": speed}


def ratios(ours: Sequence[Sample], peers: Sequence[Sample]) -> dict[str, float]:
    """Speed divided by the peer's, per round: median, lowest and highest.

    Each round compares the medians of two processes that ran one after the other. Empty if both
    finished no round.
    """
    rounds = sorted({s.process for s in ours} & {s.process for s in peers})
    if not rounds:
        return {}
    figures: dict[str, float] = {}
    for name, cost in (("prefill", _ttft), ("decode", _tpot)):
        per_round = [_median(peers, n, cost) / _median(ours, n, cost) for n in rounds]
        figures |= {
            name: median(per_round),
            f"{name}_low": min(per_round),
            f"{name}_high": max(per_round),
        }
    return figures


def _median(samples: Sequence[Sample], process: int, cost: Callable[[Sample], float]) -> float:
    return median(cost(sample) for sample in samples if sample.process == process)


def _ttft(sample: Sample) -> float:
    return sample.ttft_ms


def _tpot(sample: Sample) -> float:
    return mean(sample.inter_token_latencies_ms)


def _process(record: BundleRecord, index: int, fact: Event) -> Process:
    kept = {k: v for k, v in fact.items() if k in Process.model_fields}
    return Process(
        load_cold_s=record.loads_cold[index], load_warm_s=record.loads_warm[index], **kept
    )


def _conditions(facts: Sequence[Event]) -> Conditions:
    steals = [f["cpu_steal"] for f in facts if f["cpu_steal"] is not None]
    loads = [f["load_average"] for f in facts if f["load_average"] is not None]
    return Conditions(
        load_average=(loads[0][0], loads[-1][1]) if loads else None,
        cpu_steal=mean(steals) if steals else None,
    )


def _largest(facts: Sequence[Event], key: str) -> int | None:
    return max((f[key] for f in facts if f[key] is not None), default=None)
