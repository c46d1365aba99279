"""A file of results that a command adds to: whole at every moment, and never of two machines."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdeploy.errors import InputError, OutputError
from qdeploy.results import file
from qdeploy.results.model import Bench, Eval, Machine, Result, Results
from qdeploy.targets import Evidence

OTHER = "choose another -o FILE"
TOLD = ("system", "cpu", "cores", "power")
"""What a file says of its machine once, for all of its results."""


@dataclass(frozen=True)
class Collection:
    """Where results go. What the file holds of other things stays in it.

    Attributes:
        before: what the file held when the command began; None if there was none.
    """

    path: Path
    before: Results | None

    def save(self, machine: Machine, rows: Sequence[Result]) -> None:
        """Write the file with *rows*, in place of what it said of the same things before.

        Without rows nothing is written.

        Raises:
            OutputError: it cannot be written.
        """
        if not rows:
            return
        if self.before is not None:
            kept = [
                old for old in self.before.results if not any(_of_same(new, old) for new in rows)
            ]
            rows = (*kept, *rows)
            same = self.before.machine
            changes: dict[str, Any] = {"name": same.name}
            if machine.bandwidth_bytes_per_s is None:
                changes["bandwidth_bytes_per_s"] = same.bandwidth_bytes_per_s
            machine = machine.model_copy(update=changes)
        file.write_results(file.make_results(machine, rows), self.path)


def collect_results(path: Path, machine: Machine, *, named: bool = False) -> Collection:
    """Prepare a file to be added to; called before the work, so that none is done in vain.

    The file keeps the machine's name; *named* tells that the owner gave it now, to be the same.

    Raises:
        OutputError: it cannot be written, is no file of results, or is one of another machine.
    """
    if not path.exists():
        _check_folder(path.absolute().parent)
        return Collection(path, None)
    try:
        before = file.read_results(path)
    except InputError as error:
        why = f"output exists and cannot be added to: {error.what}"
        raise OutputError(why, where=path, fix=OTHER) from None
    told = (*TOLD, "name") if named else TOLD
    other = [name for name in told if getattr(before.machine, name) != getattr(machine, name)]
    if other:
        name = other[0]
        raise OutputError(
            f"these are results of another machine ({before.machine.name}): {name} "
            f"{getattr(before.machine, name)} there, {getattr(machine, name)} here",
            where=path,
            fix=f"{OTHER}; qdeploy report puts those of several machines side by side",
        )
    _check_folder(path.absolute().parent)
    return Collection(path, before)


def _of_same(new: Result, old: Result) -> bool:
    """Whether two results answer the same question, so that the newer one takes the other's place.

    What doctor finds of a target ends what it was said to be absent for.
    """
    if isinstance(new, Bench | Eval):
        return isinstance(old, Bench | Eval) and _question(new) == _question(old)
    if isinstance(old, Bench | Eval) or new.target != old.target:
        return False
    tried = all(getattr(new, n) == getattr(old, n) for n in ("backend", "model", "profile"))
    alike = new.evidence == old.evidence or Evidence.NONE in (new.evidence, old.evidence)
    return old.status == "absent" or (tried and alike)


def _question(row: Bench | Eval) -> tuple[object, ...]:
    artifact, environment = row.artifact, row.environment
    ran = (artifact.model, artifact.checkpoint_digest, artifact.profile)
    ran_on = (
        environment.target, environment.backend, environment.device, environment.evidence,
    )  # fmt: skip
    if isinstance(row, Bench):
        return (*ran, *ran_on, row.protocol_hash, row.prompt_tokens, row.new_tokens)
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
