"""What runs where: one row for each target, backend, profile, model and machine.

Evidence of different kinds stays apart. A target that ran nowhere has one row that says why; one
that some machine has is not listed as absent because another has not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qdeploy.report import rows
from qdeploy.report.rows import SHORT, Row
from qdeploy.report.table import Badge, Cell, Column, Table, table
from qdeploy.results import Bench, Diagnosis, Eval, Results
from qdeploy.targets import BUILT_IN, Evidence

COLUMNS = (
    "target", "evidence", "device", "model", "profile", "status", Column("decode", "tok/s"),
    "prompt + new", Column("KL from float", "nats"), "gate", "backend", "machine", "protocol",
)  # fmt: skip
ORDER = {target.name: place for place, target in enumerate(BUILT_IN)}


@dataclass
class _Line:
    """What is known of one combination; the first measurement of a kind counts."""

    target: str
    backend: str | None
    machine: str
    evidence: str
    profile: str | None
    model: str | None
    device: str | None
    bench: Bench | None = None
    quality: Eval | None = None
    diagnosis: Diagnosis | None = None

    def covers(self, machine: str, found: Diagnosis) -> bool:
        """Whether a diagnosis is of this combination; what it does not name, it says of all."""
        evidence = None if found.evidence is Evidence.NONE else str(found.evidence)
        return (self.target, self.machine) == (found.target, machine) and all(
            said in (None, mine)
            for said, mine in (
                (evidence, self.evidence),
                (found.backend, self.backend),
                (found.profile, self.profile),
                (found.model, self.model),
            )
        )


def coverage(files: Iterable[Results]) -> Table:
    """The table of what runs where, in the order of qdeploy's targets."""
    files = list(files)
    lines = _measured(files)
    absent: dict[str, Diagnosis] = {}
    for row in rows.of_kind(files, Diagnosis):
        found, machine = row.result, row.machine.name
        if found.status == "absent":
            known = absent.get(found.target)
            if known is None or (known.profile is None and found.profile):  # that was really tried
                absent[found.target] = found
            continue
        covered = [line for line in lines if line.covers(machine, found)]
        if not covered:
            where = (found.target, found.backend, machine, str(found.evidence))
            covered = [_Line(*where, found.profile, found.model, found.device)]
            lines += covered
        for line in covered:
            line.diagnosis = _worse(line.diagnosis, found)
    cells = [_cells(line, several_protocols=_several_protocols(lines)) for line in lines]
    there = {line.target for line in lines}
    cells += [_nowhere(found) for target, found in absent.items() if target not in there]
    return table(COLUMNS, sorted(cells, key=lambda c: ORDER.get(str(c[0]), len(ORDER))))


def _measured(files: Iterable[Results]) -> list[_Line]:
    lines: dict[tuple[str | None, ...], _Line] = {}
    ran: list[Row[Bench] | Row[Eval]] = [*rows.of_kind(files, Bench), *rows.of_kind(files, Eval)]
    for row in ran:
        r = row.result
        key = (
            r.where.target, r.where.backend, row.machine.name, str(r.where.evidence),
            r.subject.profile, r.subject.model, r.where.device,
        )  # fmt: skip
        line = lines.setdefault(key, _Line(*key))
        if isinstance(r, Bench):
            line.bench = line.bench or r
        else:
            line.quality = line.quality or r
    return list(lines.values())


def _worse(one: Diagnosis | None, other: Diagnosis) -> Diagnosis:
    return other if one is None or one.status == "ok" else one


def _several_protocols(lines: Iterable[_Line]) -> bool:
    return len({line.bench.protocol_hash for line in lines if line.bench}) > 1


def _cells(line: _Line, *, several_protocols: bool) -> tuple[Cell, ...]:
    bench, quality, doctor = line.bench, line.quality, line.diagnosis
    gated = quality is not None and (quality.thresholds or quality.failures)
    broken = doctor is not None and doctor.status != "ok"
    return (
        line.target, Badge(line.evidence),
        line.device or (f"failed: {doctor.message}" if doctor and broken else None),
        line.model, line.profile,
        Badge(doctor.status) if doctor else None,
        bench.decode_tokens_per_s if bench else None,
        f"{bench.prompt_tokens} + {bench.new_tokens}" if bench else None,
        quality.kl.mean if quality else None,
        Badge("failed" if quality.failures else "ok") if quality and gated else None,
        line.backend, line.machine,
        bench.protocol_hash[:SHORT] if bench and several_protocols else None,
    )  # fmt: skip


def _nowhere(found: Diagnosis) -> tuple[Cell, ...]:
    known = (found.target, Badge(str(found.evidence)), f"absent: {found.message}")
    return (*known, *(None,) * (len(COLUMNS) - len(known)))
