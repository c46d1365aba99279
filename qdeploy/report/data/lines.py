"""Results grouped by configuration: target, backend, profile, model, device and machine.

Data-free and calibrated bundles of a profile are two configurations.

Results of one configuration make one line, even if they come from different files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from qdeploy.report.data.machines import machine_identity
from qdeploy.report.data.rows import Row, rows_of_kind
from qdeploy.results import Bench, Diagnosis, Eval, Load, Machine, Results
from qdeploy.targets import Evidence


@dataclass
class Line:
    """All results of one configuration.

    Attributes:
        digest: of the checkpoint; None if there is only a diagnosis, which has no digest.
        bench: the first benchmark result.
        evals: all evaluations, on any text and against any reference.
        diagnosis: the first whose status is not `ok`, else the first.
    """

    target: str
    backend: str | None
    machine: Machine
    machine_name: str
    evidence: str
    profile: str | None
    model: str | None
    digest: str | None
    device: str | None
    calibrated: bool = False
    bench: Bench | None = None
    evals: list[Eval] = field(default_factory=list)
    diagnosis: Diagnosis | None = None

    def covers(self, row: Row[Diagnosis]) -> bool:
        """Whether a diagnosis applies to this configuration; a field it leaves out matches any."""
        diagnosis = row.result
        evidence = None if diagnosis.evidence is Evidence.NONE else str(diagnosis.evidence)
        same = (self.target, self.machine) == (diagnosis.target, machine_identity(row.machine))
        return same and all(
            theirs in (None, ours)
            for theirs, ours in (
                (evidence, self.evidence),
                (diagnosis.backend, self.backend),
                (diagnosis.profile, self.profile),
                (diagnosis.model, self.model),
                (diagnosis.device, self.device),
            )
        )

    def add_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Add a diagnosis, unless an earlier one has a status other than `ok`."""
        if self.diagnosis is None or self.diagnosis.status == "ok":
            self.diagnosis = diagnosis


def collect_lines(files: Iterable[Results]) -> tuple[list[Line], dict[str, Diagnosis]]:
    """Return all lines, and the diagnosis of each target that is absent on some machine.

    Of several, a diagnosis with a profile is preferred, because that profile was really tried.
    """
    files = list(files)
    lines = _measured_lines(files)
    absent: dict[str, Diagnosis] = {}
    for row in rows_of_kind(files, Diagnosis):
        diagnosis = row.result
        if diagnosis.status == "absent":
            known = absent.get(diagnosis.target)
            if known is None or (known.profile is None and diagnosis.profile):
                absent[diagnosis.target] = diagnosis
            continue
        covered = [line for line in lines if line.covers(row)]
        if not covered:
            covered = [_line_of_diagnosis(row)]
            lines += covered
        for line in covered:
            line.add_diagnosis(diagnosis)
    return lines, absent


def _measured_lines(files: Sequence[Results]) -> list[Line]:
    lines: dict[tuple[object, ...], Line] = {}
    rows: list[Row[Bench] | Row[Load] | Row[Eval]] = [
        *rows_of_kind(files, Bench), *rows_of_kind(files, Load), *rows_of_kind(files, Eval),
    ]  # fmt: skip
    for row in rows:
        new = _line(row)
        key = (
            new.target, new.backend, new.machine, new.evidence, new.profile, new.model, new.digest,
            new.device, new.calibrated,
        )  # fmt: skip
        line = lines.setdefault(key, new)
        if isinstance(row.result, Bench):
            line.bench = line.bench or row.result
        elif isinstance(row.result, Eval):
            line.evals.append(row.result)
    return list(lines.values())


def _line(row: Row[Bench] | Row[Load] | Row[Eval]) -> Line:
    artifact, environment = row.result.artifact, row.result.environment
    return Line(
        target=environment.target,
        backend=environment.backend,
        machine=machine_identity(row.machine),
        machine_name=row.machine_name,
        evidence=str(environment.evidence),
        profile=artifact.profile,
        model=artifact.model,
        digest=artifact.checkpoint_digest,
        device=environment.device,
        calibrated=artifact.calibrated,
    )


def _line_of_diagnosis(row: Row[Diagnosis]) -> Line:
    """The line of a configuration that was diagnosed and not measured."""
    diagnosis = row.result
    return Line(
        target=diagnosis.target,
        backend=diagnosis.backend,
        machine=machine_identity(row.machine),
        machine_name=row.machine_name,
        evidence=str(diagnosis.evidence),
        profile=diagnosis.profile,
        model=diagnosis.model,
        digest=None,
        device=diagnosis.device,
    )
