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
from qdeploy.targets import Evidence

Event = dict[str, Any]
Samples = dict[int, list[Sample]]
"""Samples by the index of the grid point."""


@dataclass
class Told:
    """All that was heard about one bundle.

    Attributes:
        where: the fields of `Environment` and the target's kind, from the first load.
        loads_cold, loads_warm: seconds, one a round.
        bandwidths: bytes a second at which memory was read, one a round.
        facts: of each point, by its index: what each process told at its end.
        peer: name and version of the peer, if there is one.
        peer_failure: what ended its turns, if anything did.
    """

    bundle: Bundle
    where: Event = field(default_factory=dict)
    loads_cold: list[float] = field(default_factory=list)
    loads_warm: list[float] = field(default_factory=list)
    bandwidths: list[float] = field(default_factory=list)
    samples: Samples = field(default_factory=dict)
    facts: dict[int, list[Event]] = field(default_factory=dict)
    peer: str | None = None
    peer_samples: Samples = field(default_factory=dict)
    peer_failure: QdeployError | None = None


def make_rows(
    told: Told, protocol: Protocol, machine: Machine, interrupted: str | None = None
) -> list[Bench]:
    """Create one row per grid point that has samples.

    *interrupted* is the reason why samples are missing; it is ignored for complete points.
    """
    required = protocol.runs * protocol.processes
    rows = []
    for index, point in enumerate(protocol.points):
        samples = told.samples.get(index, [])
        if samples:
            reason = interrupted if len(samples) < required else None
            rows.append(_row(told, index, point, samples, protocol, machine, reason))
    return rows


def _row(
    told: Told,
    index: int,
    point: Point,
    samples: Sequence[Sample],
    protocol: Protocol,
    machine: Machine,
    interrupted: str | None,
) -> Bench:
    artifact = artifact_of(told.bundle)
    facts = told.facts.get(index, [])
    ttft = spread([_ttft(s) for s in samples])
    tpot = spread([_tpot(s) for s in samples])
    decode = 1000 / tpot.p50
    joules = [f["energy_joules"] for f in facts if f["energy_joules"] is not None]
    peer_samples = told.peer_samples.get(index, [])
    utilization = None
    if artifact.bytes_per_token and machine.bandwidth_bytes_per_s and told.where["kind"] == "cpu":
        utilization = artifact.bytes_per_token * decode / machine.bandwidth_bytes_per_s
    return Bench(
        artifact=artifact,
        environment=Environment.model_validate(
            {k: v for k, v in told.where.items() if k != "kind"}
        ),
        conditions=_conditions(facts),
        protocol=protocol.as_dict(),
        protocol_hash=protocol.hash,
        prompt_tokens=point.prompt,
        new_tokens=point.new,
        samples=tuple(samples),
        processes=tuple(_process(told, i, f) for i, f in enumerate(facts)),
        interrupted=interrupted,
        load_cold_s=median(told.loads_cold) if told.loads_cold else None,
        load_warm_s=median(told.loads_warm) if told.loads_warm else None,
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
        peer=told.peer if peer_samples else None,
        peer_samples=tuple(peer_samples),
        peer_failure=told.peer_failure.what if told.peer_failure else None,
        ratio=ratios(samples, peer_samples) or None,
        predicted=_predicted(told, point, machine),
    )


def _predicted(told: Told, point: Point, machine: Machine) -> dict[str, float] | None:
    """Decode speed by the roofline model, if the efficiency of the backend here is known."""
    if told.where["evidence"] != str(Evidence.DEVICE):
        return None
    planned, cached = told.bundle.manifest.plan, point.prompt + point.new // 2
    bandwidth, where = machine.bandwidth_bytes_per_s, told.where
    speed = forecast.decode_here(planned, where["backend"], where["target"], cached, bandwidth)
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


def _process(told: Told, index: int, fact: Event) -> Process:
    kept = {k: v for k, v in fact.items() if k in Process.model_fields}
    return Process(load_cold_s=told.loads_cold[index], load_warm_s=told.loads_warm[index], **kept)


def _conditions(facts: Sequence[Event]) -> Conditions:
    steals = [f["cpu_steal"] for f in facts if f["cpu_steal"] is not None]
    loads = [f["load_average"] for f in facts if f["load_average"] is not None]
    return Conditions(
        load_average=(loads[0][0], loads[-1][1]) if loads else None,
        cpu_steal=mean(steals) if steals else None,
    )


def _largest(facts: Sequence[Event], key: str) -> int | None:
    return max((f[key] for f in facts if f[key] is not None), default=None)
