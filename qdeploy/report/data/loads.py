"""Tables of results under load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qdeploy.report.data.rows import SHORT, Group, Row, group_loads
from qdeploy.report.data.table import Badge, Cell, Column, Table, make_table, megabytes, plain
from qdeploy.results import Load, Percentiles, Results

COLUMNS = (
    "device", "evidence", "profile", "prompt + new", "clients", Column("arrivals", "1/s"),
    Column("throughput", "tok/s"), Column("requests", "1/s"), Column("goodput", "1/s"),
    Column("TTFT p50", "ms"), Column("TTFT p90", "ms"), Column("TTFT p99", "ms"),
    Column("TPOT p50", "ms"), Column("TPOT p99", "ms"), Column("ITL p50", "ms"),
    Column("ITL p90", "ms"), Column("ITL p99", "ms"), "answered", "failed", "failures",
    "served at once", Column("peak memory", "MB"), "interrupted", "linear weights", "target",
    "backend", "machine",
)  # fmt: skip


@dataclass(frozen=True)
class LoadSection:
    """Results under load of one model under one protocol."""

    model: str
    digest: str
    protocol_hash: str
    protocol: Table
    group: Group[Load]
    table: Table


def load_sections(files: Iterable[Results]) -> tuple[LoadSection, ...]:
    """One section for each model and protocol, in the order of the files."""
    return tuple(_section(group) for group in group_loads(files))


def _section(group: Group[Load]) -> LoadSection:
    first = group.first
    return LoadSection(
        model=first.artifact.model,
        digest=first.artifact.checkpoint_digest[:SHORT],
        protocol_hash=first.protocol_hash[:SHORT],
        protocol=make_table(("rule", "value"), [(k, plain(v)) for k, v in first.protocol.items()]),
        group=group,
        table=make_table(COLUMNS, (_cells(row) for row in group.rows)),
    )


def _cells(row: Row[Load]) -> tuple[Cell, ...]:
    r, environment, artifact = row.result, row.result.environment, row.result.artifact
    ttft, tpot, itl = r.ttft_ms, r.tpot_ms, r.inter_token_latency_ms
    return (
        environment.device, Badge(str(environment.evidence)), artifact.profile,
        f"{r.prompt_tokens:,} + {r.new_tokens:,}", r.concurrency, r.rate, r.output_tokens_per_s,
        r.requests_per_s, r.goodput_per_s, *_three(ttft),
        tpot.p50 if tpot else None, tpot.p99 if tpot else None, *_three(itl), len(r.samples),
        r.failed, "; ".join(f"{count} x {what}" for what, count in r.failures.items()), r.serves,
        megabytes(r.peak_memory_bytes), r.interrupted, artifact.weights, environment.target,
        environment.backend, row.machine_name,
    )  # fmt: skip


def _three(found: Percentiles | None) -> tuple[Cell, ...]:
    return (None,) * 3 if found is None else (found.p50, found.p90, found.p99)
