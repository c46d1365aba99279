"""The table "What runs where": one row per target, backend, profile, model, device and machine.

Results of different evidence have separate rows. A target that ran on no machine has one row with
the reason. A target that runs on one machine is not listed as absent because another lacks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qdeploy.report.data.lines import Line, collect_lines
from qdeploy.report.data.rows import SHORT, has_float_reference, profile_name
from qdeploy.report.data.table import Badge, Cell, Column, Table, make_table
from qdeploy.results import Diagnosis, Eval, Results
from qdeploy.targets import BUILT_IN

COLUMNS = (
    "target", "evidence", "device", "model", "profile", "status", Column("decode", "tok/s"),
    "prompt + new", Column("worst KL from float", "nats"), "gate", "backend", "machine", "protocol",
)  # fmt: skip
ORDER = {target.name: place for place, target in enumerate(BUILT_IN)}


def coverage_table(files: Iterable[Results]) -> Table:
    """The table of what runs where, in the order of qdeploy's targets."""
    lines, absent = collect_lines(files)
    digests = {(line.model, line.digest) for line in lines if line.digest}
    models = [model for model, _ in digests]
    shared = {model for model in models if models.count(model) > 1}
    protocols = {line.bench.protocol_hash for line in lines if line.bench}
    cells = [
        _cells(line, shared_name=line.model in shared, several_protocols=len(protocols) > 1)
        for line in lines
    ]
    present = {line.target for line in lines}
    cells += [_absent_cells(why) for target, why in absent.items() if target not in present]
    return make_table(COLUMNS, sorted(cells, key=lambda c: ORDER.get(str(c[0]), len(ORDER))))


def _cells(line: Line, *, shared_name: bool, several_protocols: bool) -> tuple[Cell, ...]:
    bench, diagnosis = line.bench, line.diagnosis
    failed = diagnosis is not None and diagnosis.status != "ok"
    digest = f" ({line.digest[:SHORT]})" if line.digest and shared_name else ""
    return (
        line.target, Badge(line.evidence),
        line.device or (f"failed: {diagnosis.message}" if diagnosis and failed else None),
        line.model and line.model + digest,
        line.profile and profile_name(line.profile, calibrated=line.calibrated),
        Badge(diagnosis.status) if diagnosis else None,
        bench.decode_tokens_per_s if bench else None,
        f"{bench.prompt_tokens} + {bench.new_tokens}" if bench else None,
        max((e.kl.mean for e in line.evals if has_float_reference(e)), default=None),
        _gate(line.evals), line.backend, line.machine_name,
        bench.protocol_hash[:SHORT] if bench and several_protocols else None,
    )  # fmt: skip


def _gate(evals: Sequence[Eval]) -> Badge | None:
    """`failed` if any evaluation failed; None if no evaluation has limits."""
    if any(e.failures for e in evals):
        return Badge("failed")
    return Badge("ok") if any(e.thresholds for e in evals) else None


def _absent_cells(diagnosis: Diagnosis) -> tuple[Cell, ...]:
    known = (diagnosis.target, Badge(str(diagnosis.evidence)), f"absent: {diagnosis.message}")
    return (*known, *(None,) * (len(COLUMNS) - len(known)))
