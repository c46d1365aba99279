"""Runs the matrix: doctor for each target, then export, bench and eval for each of its cells.

Every results file is written atomically after its step, so a crash loses only the current step.
Cells that did not run become diagnoses: absent with the reason, or failed with the kind of failure.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qdeploy import registry
from qdeploy.errors import CheckFailed, InputError, OutputError, QdeployError, TargetUnavailable
from qdeploy.matrix.config import Cell, Config
from qdeploy.matrix.steps import Name, Options, Outcome, Runner, Step
from qdeploy.results import Diagnosis, Machine, Results, make_results, read_results, write_results
from qdeploy.targets import Evidence

REQUIRE = "QDEPLOY_REQUIRE"
OWN_FILE = "matrix.json"
FIX_ABSENT = "run qdeploy doctor {target} for details"

Status = Literal["ok", "over", "absent", "failed"]
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class CellOutcome:
    """The outcome of a cell.

    Attributes:
        status: `over` means that a quality gate failed.
        message: the reason, unless the status is `ok`.
    """

    cell: Cell
    status: Status
    message: str | None = None


class Matrix:
    """One run of a matrix on this machine.

    Attributes:
        folder: the directory for the results files; it is created.
        machine: describes this machine, if no step has done so.
        runner: runs a step.
        on_step: called with one line about each step.
        options: options of the steps, by step.
    """

    def __init__(
        self, config: Config, folder: Path, machine: Callable[[], Machine], runner: Runner,
        on_step: OnStep, options: Mapping[Name, Options],
    ) -> None:  # fmt: skip
        self._config, self._folder, self._machine = config, folder, machine
        self._runner, self._on_step, self._options = runner, on_step, options
        self._number = itertools.count(1)
        self._diagnoses: list[Diagnosis] = []

    def run(self, cells: Sequence[Cell]) -> list[CellOutcome]:
        """Run the cells in their order, one at a time, since speed is measured.

        Raises:
            OutputError: the directory is not empty, or cannot be written.
        """
        done: list[CellOutcome] = []
        with _bundles(self._folder) as bundles:
            for _, group in itertools.groupby(cells, lambda cell: cell.target):
                done += self._target(list(group), Path(bundles))
        return done

    def _target(self, cells: Sequence[Cell], bundles: Path) -> list[CellOutcome]:
        probed = next((cell for cell in cells if cell.absent is None), None)
        if probed is None:
            return [self._left_out(cell, cell.absent or "") for cell in cells]
        file = self._file(probed.target.name, "doctor")
        checked = self._step("doctor", probed, file)
        if checked.status == "absent":
            recorded = file.is_file()  # doctor has written its own rows
            reasons = _reasons(file) if recorded else {}
            why = checked.message or "absent"
            return [
                self._left_out(
                    cell,
                    cell.absent or reasons.get(cell.backend) or why,
                    checked.fix,
                    known=recorded,
                )
                for cell in cells
            ]
        ran = self._run_cells(cells, bundles)
        if checked.status == "ok":
            return list(ran)
        if not file.is_file():
            self._failed(probed, "doctor", checked, whole_target=True)
        message = f"doctor: {checked.message}"
        return [_worse(one, CellOutcome(one.cell, "failed", message)) for one in ran]

    def _run_cells(self, cells: Sequence[Cell], bundles: Path) -> Iterator[CellOutcome]:
        exported: dict[tuple[str, str | None], tuple[Path, Outcome]] = {}
        for cell in cells:
            if cell.absent is not None:
                yield self._left_out(cell, cell.absent)
                continue
            key = (cell.model, cell.profile)
            if key not in exported:
                folder = bundles / f"{len(list(bundles.iterdir()))}"
                exported[key] = folder, self._step("export", cell, folder)
            bundle, outcome = exported[key]
            yield (
                self._measured(cell, bundle)
                if outcome.status == "ok"
                else self._ended(cell, "export", outcome)
            )

    def _measured(self, cell: Cell, bundle: Path) -> CellOutcome:
        """Run bench and eval for one cell; eval is left out if bench finds the device absent."""
        status = CellOutcome(cell, "ok")
        steps: tuple[Name, ...] = ("bench", "eval")
        for step in steps:
            model = re.sub(r"[^\w.-]+", "-", Path(cell.model).name)
            file = self._file(*filter(None, (cell.scheme, cell.backend, model, step)))
            outcome = self._step(step, cell, file, bundle)
            if outcome.status == "absent":
                return _worse(status, self._ended(cell, step, outcome))
            if outcome.status == "wrong" and file.is_file():
                ended = CellOutcome(cell, "over", outcome.message)
            elif outcome.status == "ok" and file.is_file():
                continue
            elif outcome.status == "ok":
                lost = Outcome("error", f"{step} succeeded but wrote no results")
                ended = self._ended(cell, step, lost)
            else:
                ended = self._ended(cell, step, outcome)
            status = _worse(status, ended)
        return status

    def _step(self, name: Name, cell: Cell, output: Path, bundle: Path | None = None) -> Outcome:
        subject = (cell.target.name,) if name == "doctor" else (cell.model, cell.scheme)
        backend = cell.backend if bundle else None
        words = " ".join(filter(None, (name, *subject, backend)))
        self._on_step(words)
        step = Step(
            name, cell.target.name, cell.model, cell.profile, cell.backend, cell.simulate, output,
            bundle, self._options.get(name, {}),
        )  # fmt: skip
        outcome = self._runner(step, self._config.timeout)
        if outcome.status != "ok":
            self._on_step(f"{words}: {outcome.message}")
        return outcome

    def _ended(self, cell: Cell, step: str, outcome: Outcome) -> CellOutcome:
        if outcome.status == "absent":
            return self._left_out(cell, outcome.message, outcome.fix)
        return self._failed(cell, step, outcome)

    def _failed(
        self, cell: Cell, step: str, outcome: Outcome, *, whole_target: bool = False
    ) -> CellOutcome:
        message = f"{step}: {outcome.message}"
        self._diagnose(
            Diagnosis(
                target=cell.target.name, backend=None if whole_target else cell.backend,
                model=None if whole_target else cell.model,
                profile=None if whole_target else cell.scheme, evidence=Evidence.NONE,
                status="failed", failure=outcome.failure, message=message, fix=outcome.fix,
            )
        )  # fmt: skip
        return CellOutcome(cell, "failed", message)

    def _left_out(
        self, cell: Cell, why: str, fix: str | None = None, *, known: bool = False
    ) -> CellOutcome:
        """Record a cell as absent; with *known*, doctor's results file has the row already."""
        if not known:
            self._diagnose(
                Diagnosis(
                    target=cell.target.name, backend=cell.backend, model=cell.model,
                    profile=cell.scheme, evidence=Evidence.NONE, status="absent", message=why,
                    fix=fix,
                )
            )  # fmt: skip
        return CellOutcome(cell, "absent", why)

    def _diagnose(self, found: Diagnosis) -> None:
        self._diagnoses.append(found)
        machine = found_machine(self._folder, self._machine)
        write_results(make_results(machine, self._diagnoses), self._folder / OWN_FILE)

    def _file(self, *parts: str) -> Path:
        return self._folder / f"{next(self._number):02}-{'-'.join(parts)}.json"


_BAD: tuple[Status, ...] = ("ok", "absent", "over", "failed")
"""From best to worst."""


def _worse(one: CellOutcome, other: CellOutcome) -> CellOutcome:
    """Return the worse outcome of two steps of one cell; the first if they are equally bad."""
    return max(one, other, key=lambda ran: _BAD.index(ran.status))


def required(cells: Sequence[Cell]) -> frozenset[str]:
    """Return the names of the targets that the environment variable requires.

    Raises:
        InputError: a target is unknown, or has no cell.
    """
    names = frozenset(filter(None, map(str.strip, os.environ.get(REQUIRE, "").split(","))))
    for name in sorted(names):
        try:
            registry.target(name)
        except InputError as error:
            raise InputError(error.what, where=REQUIRE, fix=error.fix) from None
        if all(cell.target.name != name for cell in cells):
            raise InputError(
                f"the matrix does not run {name!r}, which is required",
                where=REQUIRE,
                fix="run it too, or remove it from the variable",
            )
    return names


def judge(done: Sequence[CellOutcome], required: Collection[str] = ()) -> None:
    """Raise the error that the command ends with, if any cell failed.

    Raises:
        TargetUnavailable: a *required* target is absent.
        QdeployError: a step failed.
        CheckFailed: a quality gate failed.
    """
    for ran in done:
        if ran.status == "absent" and ran.cell.target.name in required:
            raise TargetUnavailable(
                f"required by {REQUIRE}, and absent: {ran.message}",
                FIX_ABSENT.format(target=ran.cell.target.name),
                where=ran.cell.target.name,
            )
    for status, error in (("failed", QdeployError), ("over", CheckFailed)):
        bad = [ran for ran in done if ran.status == status]
        if bad:
            first = bad[0]
            where = " ".join(filter(None, (first.cell.model, first.cell.scheme)))
            rest = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise error(f"{first.message}{rest}", where=where)


def _reasons(file: Path) -> dict[str | None, str | None]:
    """Why each backend is absent, as doctor wrote it."""
    rows = read_results(file).results
    return {row.backend: row.message for row in rows if isinstance(row, Diagnosis)}


def _bundles(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Create a temporary directory for bundles in the results directory, which must be empty.

    No other directory is known to be writable and to have room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError("the folder is not empty", where=folder, fix="give a new -o DIR")
        return tempfile.TemporaryDirectory(prefix=".bundles-", dir=folder)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})",
            where=folder,
            fix="give a new -o DIR",
        ) from None


def results_of(folder: Path, otherwise: Callable[[], Machine]) -> Results:
    """Return the results of all files in the matrix' folder as one, in the order of the files."""
    files = [read_results(file) for file in sorted(folder.glob("*.json"))]
    rows = [row for one in files for row in one.results]
    return make_results(found_machine(folder, otherwise), rows)


def found_machine(folder: Path, otherwise: Callable[[], Machine]) -> Machine:
    """Return the machine from a results file, which has its memory bandwidth, or describe it."""
    for file in sorted(folder.glob("*.json")):
        with suppress(QdeployError):
            return read_results(file).machine
    return otherwise()
