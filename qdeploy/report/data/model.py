"""What a report shows, as plain data: the page and the Markdown are two ways to write it down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qdeploy.report.data import machines, rows
from qdeploy.report.data.coverage import coverage
from qdeploy.report.data.merged import Merged
from qdeploy.report.data.rows import SHORT, Group, Row, point
from qdeploy.report.data.table import Badge, Cell, Column, Table, megabytes, table
from qdeploy.results import Bench, Diagnosis, Eval, Machine


@dataclass(frozen=True)
class Speed:
    """Measurements of one model under one protocol.

    Attributes:
        protocol: the written protocol, by key.
        speed: how fast; `costs`: what else it took, and under which conditions.
    """

    model: str
    digest: str
    protocol_hash: str
    protocol: Table
    group: Group[Bench]
    speed: Table
    costs: Table


@dataclass(frozen=True)
class Quality:
    """Evaluations of one model against one reference on one text."""

    model: str
    digest: str
    reference: str
    text: str
    group: Group[Eval]
    table: Table


@dataclass(frozen=True)
class Page:
    """Everything a report says.

    Attributes:
        facts: numbers of things for the head of the page, with the word for each.
    """

    created: str
    qdeploy: str
    facts: tuple[tuple[int, str], ...]
    coverage: Table
    speeds: tuple[Speed, ...]
    qualities: tuple[Quality, ...]
    diagnoses: Table
    machines: Table


def page(merged: Merged) -> Page:
    """Arrange results for a person."""
    files = merged.files
    speeds, qualities = rows.speed(files), rows.quality(files)
    benches, evals = rows.of_kind(files, Bench), rows.of_kind(files, Eval)
    diagnoses, hosts = rows.of_kind(files, Diagnosis), machines.distinct(files)
    measured: list[Row[Bench] | Row[Eval]] = [*benches, *evals]
    artifacts = [row.result.artifact for row in measured]
    devices = {row.result.environment.device for row in measured}
    return Page(
        created=merged.created,
        qdeploy=", ".join(sorted({file.qdeploy for file in files})),
        facts=_counts(
            machine=len(hosts),
            device=len(devices),
            model=len({a.checkpoint_digest for a in artifacts}),
            bundle=len({a.bundle_digest for a in artifacts}),
            measurement=len(benches),
            evaluation=len(evals),
        ),
        coverage=coverage(files),
        speeds=tuple(_speed(group) for group in speeds),
        qualities=tuple(_quality(group) for group in qualities),
        diagnoses=_diagnoses(diagnoses),
        machines=_machines(hosts),
    )


def _counts(**numbers: int) -> tuple[tuple[int, str], ...]:
    """Numbers with their words, in the plural where it is due; without what there is none of."""
    return tuple((n, word if n == 1 else f"{word}s") for word, n in numbers.items() if n)


def _which(row: Row[Bench] | Row[Eval]) -> tuple[Cell, ...]:
    environment = row.result.environment
    return environment.device, Badge(str(environment.evidence)), row.result.artifact.profile


def _where(row: Row[Bench] | Row[Eval]) -> tuple[Cell, ...]:
    environment = row.result.environment
    return row.result.artifact.precision, environment.target, environment.backend, row.called


WHICH = ("device", "evidence", "profile")
WHERE = ("linear weights", "target", "backend", "machine")
"""What every table begins and ends with: figures stand in between, where they are seen first."""
SPEED = (
    *WHICH, "prompt + new", Column("decode", "tok/s"), Column("prefill", "tok/s"),
    Column("TTFT p50", "ms"), Column("TPOT p50", "ms"), Column("ITL p50", "ms"),
    Column("ITL p95", "ms"), Column("ITL p99", "ms"), Column("predicted decode", "tok/s"),
    "peer", "ratio to peer", "runs", "interrupted", *WHERE,
)  # fmt: skip
COSTS = (
    *WHICH, "prompt + new", Column("bundle", "MB"), Column("cold load", "s"),
    Column("warm load", "s"), Column("peak memory", "MB"), Column("peak device memory", "MB"),
    Column("weights read a token", "MB"), Column("bandwidth utilization", "%"),
    Column("energy a token", "J"), "energy from", "load before, after", Column("CPU steal", "%"),
    "ran on", "proof", "fallback", "driver", "versions", "settings", "threads", *WHERE,
)  # fmt: skip
QUALITY = (
    *WHICH, Column("bundle", "MB"), Column("KL mean", "nats"), Column("KL p99", "nats"),
    Column("KL max", "nats"), Column("top-1 agreement", "%"), "perplexity", "of the reference",
    Column("first divergence", "tokens"), "exact match, %", "gate", "over", *WHERE,
)  # fmt: skip


def _speed(group: Group[Bench]) -> Speed:
    first = group.first
    return Speed(
        model=first.artifact.model,
        digest=first.artifact.checkpoint_digest[:SHORT],
        protocol_hash=first.protocol_hash[:SHORT],
        protocol=table(("rule", "value"), [(k, _plain(v)) for k, v in first.protocol.items()]),
        group=group,
        speed=table(SPEED, (_speed_cells(row) for row in group.rows)),
        costs=table(COSTS, (_cost_cells(row) for row in group.rows)),
    )


def _speed_cells(row: Row[Bench]) -> tuple[Cell, ...]:
    r, itl = row.result, row.result.inter_token_latency_ms
    return (
        *_which(row), point(r), r.decode_tokens_per_s, r.prefill_tokens_per_s,
        r.ttft_ms.p50, r.tpot_ms.p50, itl.p50, itl.p95, itl.p99,
        (r.predicted or {}).get("decode_tokens_per_s"), r.peer,
        _ratio(r.ratio or {}), len(r.samples),
        r.interrupted, *_where(row),
    )  # fmt: skip


def _cost_cells(row: Row[Bench]) -> tuple[Cell, ...]:
    r, conditions = row.result, row.result.conditions
    utilization, load = r.memory_bandwidth_utilization, conditions.load_average
    placement = r.environment.placement
    return (
        *_which(row), point(r), megabytes(r.artifact.bundle_bytes), r.load_cold_s, r.load_warm_s,
        megabytes(r.peak_memory_bytes), megabytes(r.device_peak_memory_bytes),
        megabytes(r.artifact.bytes_per_token), _percent(utilization),
        r.joules_per_token, r.energy_source,
        None if load is None else f"{load[0]:.1f}, {load[1]:.1f}",
        _percent(conditions.cpu_steal),
        _plain(placement.get("devices", "")), _plain(placement.get("proof", "")),
        _plain(placement.get("fallback", "")), r.environment.driver, _named(r.environment.versions),
        _named(r.environment.properties),
        max((p.threads or 0 for p in r.processes), default=0) or None, *_where(row),
    )  # fmt: skip


def _quality(group: Group[Eval]) -> Quality:
    first = group.first
    return Quality(
        model=first.artifact.model,
        digest=first.artifact.checkpoint_digest[:SHORT],
        reference=_called(first.reference),
        text=_called(first.text),
        group=group,
        table=table(QUALITY, (_quality_cells(row) for row in group.rows)),
    )


def _quality_cells(row: Row[Eval]) -> tuple[Cell, ...]:
    r = row.result
    gate = Badge("failed") if r.failures else Badge("ok") if r.thresholds else None
    return (
        *_which(row), megabytes(r.artifact.bundle_bytes), r.kl.mean, r.kl.p99, r.kl.max,
        100 * r.top1_agreement, r.perplexity, r.reference_perplexity, r.first_divergence,
        _named(r.exact_match or {}, "{:.0f}"), gate, "; ".join(r.failures),
        *_where(row),
    )  # fmt: skip


def _diagnoses(found: Sequence[Row[Diagnosis]]) -> Table:
    columns = (
        "target", "backend", "status", "evidence", "model", "profile", "device", "machine", "kind",
        "why", "fix", Column("took", "s"),
    )  # fmt: skip
    cells = [
        (
            d.target, d.backend, Badge(d.status), Badge(str(d.evidence)), d.model, d.profile,
            d.device, row.called, d.failure, d.message, d.fix, d.seconds,
        )
        for row in found
        for d in [row.result]
    ]  # fmt: skip
    return table(columns, cells)


def _machines(found: Iterable[Machine]) -> Table:
    columns = (
        "machine", "processor", "cores", Column("memory", "GB"),
        Column("read bandwidth, median", "GB/s"), "power", "system",
    )  # fmt: skip
    cells = [
        (
            m.name, m.cpu, m.cores, _giga(m.memory_bytes), _giga(m.bandwidth_bytes_per_s), m.power,
            m.system,
        )
        for m in found
    ]  # fmt: skip
    return table(columns, cells)


def _ratio(facts: Mapping[str, float]) -> str:
    """Medians, each with its lowest and highest round where those are told."""
    shown = []
    for key, value in facts.items():
        if key.endswith(("_low", "_high")):
            continue
        low, high = facts.get(f"{key}_low"), facts.get(f"{key}_high")
        rounds = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
        shown.append(f"{key} {value:.2f}{rounds}")
    return ", ".join(shown)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9


def _called(facts: Mapping[str, str | int]) -> str:
    """A name with what else is known, digests cut to the length that people are shown."""
    rest = {
        k: v[:SHORT] if isinstance(v, str) and k in ("digest", "sha256") else v
        for k, v in facts.items()
        if k != "name"
    }
    return " ".join(filter(None, (str(facts.get("name", "")), f"({_named(rest)})" if rest else "")))


def _named(facts: Mapping[str, object], form: str = "{}") -> str:
    return ", ".join(f"{key} {form.format(value)}" for key, value in facts.items())


def _plain(value: object) -> str:
    """A value of JSON in a person's words."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
