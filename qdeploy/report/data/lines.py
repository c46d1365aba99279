"""What is known of each combination of target, backend, profile, model, device and machine.

A measurement and a diagnosis of one combination make one line, from whichever files they come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from qdeploy.report.data import rows
from qdeploy.report.data.machines import identity
from qdeploy.report.data.rows import Row
from qdeploy.results import Bench, Diagnosis, Eval, Machine, Results
from qdeploy.targets import Evidence


@dataclass
class Line:
    """What is known of one combination.

    Attributes:
        called: what the machine is called.
        digest: of the checkpoint; None where only a diagnosis tells of it, which has none.
        bench: the first measurement.
        evals: every evaluation, of any text and against any reference.
        diagnosis: the first that is not good, else the first.
    """

    target: str
    backend: str | None
    machine: Machine
    called: str
    evidence: str
    profile: str | None
    model: str | None
    digest: str | None
    device: str | None
    bench: Bench | None = None
    evals: list[Eval] = field(default_factory=list)
    diagnosis: Diagnosis | None = None

    def covers(self, row: Row[Diagnosis]) -> bool:
        """Whether a diagnosis is of this combination; what it does not name, it says of all."""
        found = row.result
        evidence = None if found.evidence is Evidence.NONE else str(found.evidence)
        same = (self.target, self.machine) == (found.target, identity(row.machine))
        return same and all(
            said in (None, mine)
            for said, mine in (
                (evidence, self.evidence),
                (found.backend, self.backend),
                (found.profile, self.profile),
                (found.model, self.model),
                (found.device, self.device),
            )
        )

    def diagnose(self, found: Diagnosis) -> None:
        """Note a diagnosis; one that is not good stays."""
        if self.diagnosis is None or self.diagnosis.status == "ok":
            self.diagnosis = found


def collect(files: Iterable[Results]) -> tuple[list[Line], dict[str, Diagnosis]]:
    """All lines, and for each target that is absent somewhere the best reason, by its name.

    The best is of a case that was really tried, and so has a profile.
    """
    files = list(files)
    lines = _measured(files)
    absent: dict[str, Diagnosis] = {}
    for row in rows.of_kind(files, Diagnosis):
        found = row.result
        if found.status == "absent":
            known = absent.get(found.target)
            if known is None or (known.profile is None and found.profile):
                absent[found.target] = found
            continue
        covered = [line for line in lines if line.covers(row)]
        if not covered:
            covered = [_told_of(row)]
            lines += covered
        for line in covered:
            line.diagnose(found)
    return lines, absent


def _measured(files: Iterable[Results]) -> list[Line]:
    files = list(files)
    lines: dict[tuple[object, ...], Line] = {}
    ran: list[Row[Bench] | Row[Eval]] = [*rows.of_kind(files, Bench), *rows.of_kind(files, Eval)]
    for row in ran:
        made = _line(row)
        key = (
            made.target, made.backend, made.machine, made.evidence, made.profile, made.model,
            made.digest, made.device,
        )  # fmt: skip
        line = lines.setdefault(key, made)
        if isinstance(row.result, Bench):
            line.bench = line.bench or row.result
        else:
            line.evals.append(row.result)
    return list(lines.values())


def _line(row: Row[Bench] | Row[Eval]) -> Line:
    artifact, environment = row.result.artifact, row.result.environment
    return Line(
        target=environment.target,
        backend=environment.backend,
        machine=identity(row.machine),
        called=row.called,
        evidence=str(environment.evidence),
        profile=artifact.profile,
        model=artifact.model,
        digest=artifact.checkpoint_digest,
        device=environment.device,
    )


def _told_of(row: Row[Diagnosis]) -> Line:
    """The line of a combination that only a diagnosis tells of."""
    found = row.result
    return Line(
        found.target, found.backend, identity(row.machine), row.called, str(found.evidence),
        found.profile, found.model, None, found.device,
    )  # fmt: skip
