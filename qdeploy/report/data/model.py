"""The content of a report as plain data; it is rendered as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qdeploy.report.data.calibration import calibration_table, interval_words
from qdeploy.report.data.coverage import coverage_table
from qdeploy.report.data.encodings import encoding_table
from qdeploy.report.data.loads import LoadSection, load_sections
from qdeploy.report.data.machines import distinct_machines
from qdeploy.report.data.merged import Merged
from qdeploy.report.data.rows import (
    SHORT,
    Group,
    Row,
    grid_point,
    group_benchmarks,
    group_evaluations,
    rows_of_kind,
)
from qdeploy.report.data.table import Badge, Cell, Column, Table, make_table, megabytes, plain
from qdeploy.results import Bench, Diagnosis, EncodingEval, Eval, Load, Machine


@dataclass(frozen=True)
class Speed:
    """Benchmark results of one model under one protocol.

    Attributes:
        protocol: the benchmark protocol, one row per key.
        speed: speed and latency.
        costs: load times, memory, energy, placement and conditions.
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
    """The content of a report.

    Attributes:
        facts: counts for the head of the page, each with its noun.
        calibration: data-free against calibrated bundles.
    """

    created: str
    qdeploy: str
    facts: tuple[tuple[int, str], ...]
    coverage: Table
    speeds: tuple[Speed, ...]
    loads: tuple[LoadSection, ...]
    qualities: tuple[Quality, ...]
    calibration: Table
    encodings: Table
    diagnoses: Table
    machines: Table


def build_page(merged: Merged) -> Page:
    """Build the content of a report from merged results."""
    files = merged.files
    benches, evals = rows_of_kind(files, Bench), rows_of_kind(files, Eval)
    machines, qualities = distinct_machines(files), group_evaluations(files)
    encodings = rows_of_kind(files, EncodingEval)
    loads = rows_of_kind(files, Load)
    measured: list[Row[Bench] | Row[Load] | Row[Eval] | Row[EncodingEval]] = [
        *benches, *loads, *evals, *encodings,
    ]  # fmt: skip
    artifacts = [row.result.artifact for row in measured]
    devices = {row.result.environment.device for row in measured}
    return Page(
        created=merged.created,
        qdeploy=", ".join(sorted({file.qdeploy for file in files})),
        facts=_counts(
            machine=len(machines),
            device=len(devices),
            model=len({a.checkpoint_digest for a in artifacts}),
            bundle=len({a.bundle_digest for a in artifacts}),
            measurement=len(benches) + len(loads),
            evaluation=len(evals) + len(encodings),
        ),
        coverage=coverage_table(files),
        loads=load_sections(files),
        speeds=tuple(_speed(group) for group in group_benchmarks(files)),
        qualities=tuple(_quality(group) for group in qualities),
        calibration=calibration_table(qualities),
        encodings=encoding_table(encodings),
        diagnoses=_diagnoses(rows_of_kind(files, Diagnosis)),
        machines=_machines(machines),
    )


def _counts(**numbers: int) -> tuple[tuple[int, str], ...]:
    """Counts with their nouns, singular or plural; zero counts are left out."""
    return tuple((n, word if n == 1 else f"{word}s") for word, n in numbers.items() if n)


def _leading_cells(row: Row[Bench] | Row[Eval]) -> tuple[Cell, ...]:
    environment = row.result.environment
    return environment.device, Badge(str(environment.evidence)), row.result.artifact.profile


def _trailing_cells(row: Row[Bench] | Row[Eval]) -> tuple[Cell, ...]:
    environment = row.result.environment
    return row.result.artifact.weights, environment.target, environment.backend, row.machine_name


LEADING = ("device", "evidence", "profile")
TRAILING = ("linear weights", "target", "backend", "machine")
"""First and last columns of every table; the figures are between them."""
SPEED = (
    *LEADING, "prompt + new", Column("decode", "tok/s"), Column("prefill", "tok/s"),
    Column("TTFT p50", "ms"), Column("TPOT p50", "ms"), Column("ITL p50", "ms"),
    Column("ITL p95", "ms"), Column("ITL p99", "ms"), Column("predicted decode", "tok/s"),
    "peer", "ratio to peer", "runs", "interrupted", *TRAILING,
)  # fmt: skip
COSTS = (
    *LEADING, "prompt + new", Column("bundle", "MB"), Column("cold load", "s"),
    Column("warm load", "s"), Column("peak memory", "MB"), Column("peak device memory", "MB"),
    Column("weights read a token", "MB"), Column("bandwidth utilization", "%"),
    Column("energy a token", "J"), "energy from", "load before, after", Column("CPU steal", "%"),
    "ran on", "proof", "fallback", "driver", "versions", "settings", "threads", *TRAILING,
)  # fmt: skip
QUALITY = (
    *LEADING, Column("bundle", "MB"), Column("KL mean", "nats"), "95% interval",
    Column("KL p99", "nats"), Column("KL max", "nats"), Column("top-1 agreement", "%"),
    "perplexity", "of the reference",
    Column("first divergence", "tokens"), "exact match, %", "gate", "over", *TRAILING,
)  # fmt: skip


def _speed(group: Group[Bench]) -> Speed:
    first = group.first
    return Speed(
        model=first.artifact.model,
        digest=first.artifact.checkpoint_digest[:SHORT],
        protocol_hash=first.protocol_hash[:SHORT],
        protocol=make_table(("rule", "value"), [(k, plain(v)) for k, v in first.protocol.items()]),
        group=group,
        speed=make_table(SPEED, (_speed_cells(row) for row in group.rows)),
        costs=make_table(COSTS, (_cost_cells(row) for row in group.rows)),
    )


def _speed_cells(row: Row[Bench]) -> tuple[Cell, ...]:
    r, itl = row.result, row.result.inter_token_latency_ms
    return (
        *_leading_cells(row), grid_point(r), r.decode_tokens_per_s, r.prefill_tokens_per_s,
        r.ttft_ms.p50, r.tpot_ms.p50, itl.p50, itl.p95, itl.p99,
        (r.predicted or {}).get("decode_tokens_per_s"), r.peer,
        _ratio(r.ratio or {}), len(r.samples),
        r.interrupted, *_trailing_cells(row),
    )  # fmt: skip


def _cost_cells(row: Row[Bench]) -> tuple[Cell, ...]:
    r, conditions = row.result, row.result.conditions
    utilization, load = r.memory_bandwidth_utilization, conditions.load_average
    placement = r.environment.placement
    return (
        *_leading_cells(row), grid_point(r), megabytes(r.artifact.bundle_bytes),
        r.load_cold_s, r.load_warm_s,
        megabytes(r.peak_memory_bytes), megabytes(r.device_peak_memory_bytes),
        megabytes(r.artifact.bytes_per_token), _percent(utilization),
        r.joules_per_token, r.energy_source,
        None if load is None else f"{load[0]:.1f}, {load[1]:.1f}",
        _percent(conditions.cpu_steal),
        plain(placement.get("devices", "")), plain(placement.get("proof", "")),
        plain(placement.get("fallback", "")), r.environment.driver, _named(r.environment.versions),
        _named(r.environment.properties),
        max((p.threads or 0 for p in r.processes), default=0) or None, *_trailing_cells(row),
    )  # fmt: skip


def _quality(group: Group[Eval]) -> Quality:
    first = group.first
    return Quality(
        model=first.artifact.model,
        digest=first.artifact.checkpoint_digest[:SHORT],
        reference=_described(first.reference),
        text=_described(first.text),
        group=group,
        table=make_table(QUALITY, (_quality_cells(row) for row in group.rows)),
    )


def _quality_cells(row: Row[Eval]) -> tuple[Cell, ...]:
    r = row.result
    gate = Badge("failed") if r.failures else Badge("ok") if r.thresholds else None
    return (
        *_leading_cells(row), megabytes(r.artifact.bundle_bytes), r.kl.mean,
        interval_words(r.kl.interval), r.kl.p99, r.kl.max, 100 * r.top1_agreement,
        r.perplexity, r.reference_perplexity, r.first_divergence,
        _named(r.exact_match or {}, "{:.0f}"), gate, "; ".join(r.failures),
        *_trailing_cells(row),
    )  # fmt: skip


def _diagnoses(rows: Sequence[Row[Diagnosis]]) -> Table:
    columns = (
        "target", "backend", "status", "evidence", "model", "profile", "device", "machine", "kind",
        "why", "fix", Column("took", "s"),
    )  # fmt: skip
    cells = [
        (
            d.target, d.backend, Badge(d.status), Badge(str(d.evidence)), d.model, d.profile,
            d.device, row.machine_name, d.failure, d.message, d.fix, d.seconds,
        )
        for row in rows
        for d in [row.result]
    ]  # fmt: skip
    return make_table(columns, cells)


def _machines(machines: Iterable[Machine]) -> Table:
    columns = (
        "machine", "processor", "cores", Column("memory", "GB"),
        Column("read bandwidth, median", "GB/s"), "power", "system",
    )  # fmt: skip
    cells = [
        (
            m.name, m.cpu, m.cores, _giga(m.memory_bytes), _giga(m.bandwidth_bytes_per_s), m.power,
            m.system,
        )
        for m in machines
    ]  # fmt: skip
    return make_table(columns, cells)


def _ratio(facts: Mapping[str, float]) -> str:
    """Medians, each followed by its lowest and highest round if known."""
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


def _described(facts: Mapping[str, str | int]) -> str:
    """The name, followed by the other facts in parentheses; digests are shortened."""
    rest = {
        k: v[:SHORT] if isinstance(v, str) and k in ("digest", "sha256") else v
        for k, v in facts.items()
        if k != "name"
    }
    return " ".join(filter(None, (str(facts.get("name", "")), f"({_named(rest)})" if rest else "")))


def _named(facts: Mapping[str, object], form: str = "{}") -> str:
    return ", ".join(f"{key} {form.format(value)}" for key, value in facts.items())
