"""Add results to a results file, which is replaced atomically and is of one machine only."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdeploy.errors import InputError, OutputError
from qdeploy.results.file import make_results, read_results, write_results
from qdeploy.results.load import Load
from qdeploy.results.model import Bench, Result, Results
from qdeploy.results.quality import EncodingEval, Eval
from qdeploy.results.subject import Machine
from qdeploy.targets import Evidence

OTHER = "choose another -o FILE"
SAME_MACHINE = ("system", "cpu", "cores", "power")
"""Facts that must match for results to be added: a file states them once, for all its results."""


@dataclass(frozen=True)
class Collection:
    """A results file that a command adds to; unrelated results in it are kept.

    Attributes:
        before: the file's content when the command started; None if there was no file.
    """

    path: Path
    before: Results | None

    def save(self, machine: Machine, rows: Sequence[Result]) -> None:
        """Write the file with *rows*, which replace older results of the same measurements.

        Without rows nothing is written.

        Raises:
            OutputError: the file cannot be written.
        """
        if not rows:
            return
        if self.before is not None:
            kept = [
                old for old in self.before.results if not any(_replaces(new, old) for new in rows)
            ]
            rows = (*kept, *rows)
            before = self.before.machine
            changes: dict[str, Any] = {"name": before.name}
            if machine.bandwidth_bytes_per_s is None:
                changes["bandwidth_bytes_per_s"] = before.bandwidth_bytes_per_s
            machine = machine.model_copy(update=changes)
        write_results(make_results(machine, rows), self.path)


def collect_results(path: Path, machine: Machine, *, named: bool = False) -> Collection:
    """Open a results file to add to. Call it before measuring, so that errors appear early.

    The file keeps its machine's name. With *named* the name was given by the user and must match.

    Raises:
        OutputError: the file cannot be written, is not a results file, or is of another machine.
    """
    if not path.exists():
        _check_folder(path.absolute().parent)
        return Collection(path, None)
    try:
        before = read_results(path)
    except InputError as error:
        why = f"output exists and cannot be added to: {error.what}"
        raise OutputError(why, where=path, fix=OTHER) from None
    facts = (*SAME_MACHINE, "name") if named else SAME_MACHINE
    differing = [name for name in facts if getattr(before.machine, name) != getattr(machine, name)]
    if differing:
        name = differing[0]
        raise OutputError(
            f"these are results of another machine ({before.machine.name}): {name} "
            f"{getattr(before.machine, name)} there, {getattr(machine, name)} here",
            where=path,
            fix=f"{OTHER}; qdeploy report puts those of several machines side by side",
        )
    _check_folder(path.absolute().parent)
    return Collection(path, before)


def _replaces(new: Result, old: Result) -> bool:
    """Whether *new* replaces *old*, because both are of the same measurement.

    A new diagnosis of a target also replaces an old one that found the target absent.
    """
    if isinstance(new, Bench | Load | Eval | EncodingEval):
        return isinstance(old, type(new)) and _key(new) == _key(old)
    if isinstance(old, Bench | Load | Eval | EncodingEval) or new.target != old.target:
        return False
    same_case = all(getattr(new, n) == getattr(old, n) for n in ("backend", "model", "profile"))
    same_evidence = new.evidence == old.evidence or Evidence.NONE in (new.evidence, old.evidence)
    return old.status == "absent" or (same_case and same_evidence)


def _key(row: Bench | Load | Eval | EncodingEval) -> tuple[object, ...]:
    """What identifies a measurement: artifact, environment, and protocol or reference and text."""
    artifact, environment = row.artifact, row.environment
    ran = (
        artifact.model, artifact.checkpoint_digest, artifact.profile, artifact.calibrated,
    )  # fmt: skip
    ran_on = (
        environment.target, environment.backend, environment.device, environment.evidence,
    )  # fmt: skip
    if isinstance(row, Bench | Load):
        return (*ran, *ran_on, row.protocol_hash, row.point)
    return (*ran, *ran_on, sorted(row.reference.items()), sorted(row.text.items(), key=str))


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})", where=folder, fix=OTHER
        ) from None
