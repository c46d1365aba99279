"""What runs where: one row for each target, backend, profile, model and machine.

Evidence of different kinds stays apart. A target that ran nowhere has one row that says why; one
that some machine has is not listed as absent because another has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qdeploy.report.data.lines import Line, collect
from qdeploy.report.data.rows import SHORT, from_float
from qdeploy.report.data.table import Badge, Cell, Column, Table, table
from qdeploy.results import Diagnosis, Eval, Results
from qdeploy.targets import BUILT_IN

COLUMNS = (
    "target", "evidence", "device", "model", "profile", "status", Column("decode", "tok/s"),
    "prompt + new", Column("worst KL from float", "nats"), "gate", "backend", "machine", "protocol",
)  # fmt: skip
ORDER = {target.name: place for place, target in enumerate(BUILT_IN)}


def coverage(files: Iterable[Results]) -> Table:
    """The table of what runs where, in the order of qdeploy's targets."""
    lines, absent = collect(files)
    digests = {(line.model, line.digest) for line in lines if line.digest}
    models = [model for model, _ in digests]
    shared = {model for model in models if models.count(model) > 1}
    protocols = {line.bench.protocol_hash for line in lines if line.bench}
    cells = [
        _cells(line, shared_name=line.model in shared, several_protocols=len(protocols) > 1)
        for line in lines
    ]
    there = {line.target for line in lines}
    cells += [_nowhere(found) for target, found in absent.items() if target not in there]
    return table(COLUMNS, sorted(cells, key=lambda c: ORDER.get(str(c[0]), len(ORDER))))


def _cells(line: Line, *, shared_name: bool, several_protocols: bool) -> tuple[Cell, ...]:
    bench, doctor = line.bench, line.diagnosis
    broken = doctor is not None and doctor.status != "ok"
    which = f" ({line.digest[:SHORT]})" if line.digest and shared_name else ""
    return (
        line.target, Badge(line.evidence),
        line.device or (f"failed: {doctor.message}" if doctor and broken else None),
        line.model and line.model + which, line.profile,
        Badge(doctor.status) if doctor else None,
        bench.decode_tokens_per_s if bench else None,
        f"{bench.prompt_tokens} + {bench.new_tokens}" if bench else None,
        max((e.kl.mean for e in line.evals if from_float(e)), default=None),
        _gate(line.evals), line.backend, line.called,
        bench.protocol_hash[:SHORT] if bench and several_protocols else None,
    )  # fmt: skip


def _gate(evals: Sequence[Eval]) -> Badge | None:
    """One that failed is enough; None where no evaluation had a limit."""
    if any(e.failures for e in evals):
        return Badge("failed")
    return Badge("ok") if any(e.thresholds for e in evals) else None


def _nowhere(found: Diagnosis) -> tuple[Cell, ...]:
    known = (found.target, Badge(str(found.evidence)), f"absent: {found.message}")
    return (*known, *(None,) * (len(COLUMNS) - len(known)))
