"""A benchmark as text: a table for each bundle, then the conditions that it was measured under."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from qdeploy.bench.parent import BenchOutcome
    from qdeploy.results import Bench, Machine

COLUMNS = (
    "prompt", "new", "runs", "TTFT ms", "prefill tok/s", "decode tok/s", "TPOT ms",
    "ITL p50", "p95", "p99", "peak memory",
)  # fmt: skip


def show(bundles: Sequence[Path], outcome: BenchOutcome) -> None:
    """Print every bundle's table to stdout."""
    console = output.console()
    for path, rows in zip(bundles, outcome.rows, strict=True):
        if not rows:
            console.print(f"{path}: nothing was measured")
            continue
        output.show_subject(console, path, rows[0])
        console.print(_table(rows))
        for label, text in _notes(rows, outcome.machine):
            console.print(f"{label + ':':14} {text}")


def _table(rows: Sequence[Bench]) -> Table:
    share = any(row.memory_bandwidth_utilization is not None for row in rows)
    peer = any(row.ratio for row in rows)
    extra = [*(["bandwidth"] if share else []), *(["prefill / peer", "decode / peer"] * peer)]
    table = output.table(*COLUMNS, *extra, "evidence", right=(*COLUMNS, *extra))
    for row in rows:
        itl = row.inter_token_latency_ms
        cells = [
            str(row.prompt_tokens),
            str(row.new_tokens),
            f"{len(row.samples)}{' !' if row.interrupted else ''}",
            f"{row.ttft_ms.p50:.1f}",
            f"{row.prefill_tokens_per_s:.1f}",
            f"{row.decode_tokens_per_s:.1f}",
            f"{row.tpot_ms.p50:.2f}",
            *(f"{value:.2f}" for value in (itl.p50, itl.p95, itl.p99)),
            output.size(row.peak_memory_bytes) if row.peak_memory_bytes else "",
        ]
        if share:
            known = row.memory_bandwidth_utilization
            cells.append("" if known is None else f"{100 * known:.0f}%")
        if peer:
            cells += [_ratio(row, "prefill"), _ratio(row, "decode")]
        table.add_row(*cells, str(row.environment.evidence))
    return table


def _ratio(row: Bench, name: str) -> str:
    if not row.ratio:
        return ""
    low, high = row.ratio[f"{name}_low"], row.ratio[f"{name}_high"]
    return f"{row.ratio[name]:.2f} ({low:.2f} to {high:.2f})"


def _notes(rows: Sequence[Bench], machine: Machine) -> Iterator[tuple[str, str]]:
    first = rows[0]
    if first.interrupted:
        yield "incomplete", f"{first.interrupted}; rows marked ! have fewer runs than asked for"
    yield "load", f"cold {_seconds(first.load_cold_s)}, warm {_seconds(first.load_warm_s)}"
    if first.artifact.bytes_per_token:
        text = f"{output.size(first.artifact.bytes_per_token)} of weights read a token"
        if machine.bandwidth_bytes_per_s:
            text += f"; memory is read at {output.size(machine.bandwidth_bytes_per_s)}/s here"
        yield "bandwidth", text
    yield "energy", "; ".join(dict.fromkeys(_energy(row) for row in rows))
    if first.peer:
        yield "peer", f"{first.peer}, in turns; ratios are of speed, with lowest and highest round"
    if first.peer_failure:
        yield "peer", f"failed: {first.peer_failure}"
    environment = first.environment
    placement = environment.placement
    yield "placement", f"{', '.join(placement['devices'])}, by {placement['proof']}"
    versions = [f"{name} {version}" for name, version in environment.versions.items()]
    driver = [f"driver {environment.driver}"] if environment.driver else []
    yield "versions", ", ".join([*versions, *driver]) or "none reported"
    yield "machine", ", ".join(_conditions(rows, machine))
    yield "protocol", first.protocol_hash[:16]


def _conditions(rows: Sequence[Bench], machine: Machine) -> Iterator[str]:
    yield f"{machine.name}: {machine.cpu}"
    yield f"{machine.cores} cores"
    if machine.memory_bytes:
        yield output.size(machine.memory_bytes)
    if machine.power:
        yield f"on {machine.power}"
    loads = [row.conditions.load_average for row in rows if row.conditions.load_average]
    if loads:
        yield f"load {min(x[0] for x in loads):.1f} to {max(x[1] for x in loads):.1f}"
    steals = [row.conditions.cpu_steal for row in rows if row.conditions.cpu_steal is not None]
    if steals:
        yield f"steal {100 * max(steals):.1f}%"


def _energy(row: Bench) -> str:
    joules = row.joules_per_token
    if joules is None:
        return row.energy_source or "not measured"
    return f"{joules:.3f} J a token, prefill included ({row.energy_source})"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} s"
