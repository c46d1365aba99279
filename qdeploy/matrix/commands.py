"""The commands that the matrix runs, each in a process of its own, and what their exit codes mean.

This is the one place that knows those command lines.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qdeploy.matrix.config import Cell
from qdeploy.system import processes

Failure = Literal["crash", "hang", "wrong", "error"]
KINDS: dict[int, Failure] = {1: "error", 2: "error", 4: "wrong"}
"""Of failures, by the exit codes of qdeploy.errors; any other code is a crash."""
ABSENT, CHECK_FAILED = 3, 4


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: exit code; negative is the signal that ended it, None is that its time ran out.
        message, fix: what it said, in one line each.
    """

    code: int | None
    message: str = ""
    fix: str | None = None

    @property
    def failure(self) -> Failure:
        """Which kind of failure it is, if it is one."""
        return "hang" if self.code is None else KINDS.get(self.code, "crash")


Runner = Callable[[list[str], float], Outcome]
"""Runs `qdeploy` with these arguments, for at most so many seconds."""


def doctor(cell: Cell, file: Path) -> list[str]:
    """Of the cell's target, over all of its backends."""
    return ["doctor", cell.target.name, *_stand_in(cell), "-o", str(file)]


def export(cell: Cell, folder: Path) -> list[str]:
    profile = ["--profile", cell.profile] if cell.profile else []
    return ["export", cell.model, "--target", cell.target.name, *profile, "-o", str(folder)]


def bench(cell: Cell, bundle: Path, file: Path) -> list[str]:
    return ["bench", str(bundle), *_where(cell), "-o", str(file)]


def evaluate(cell: Cell, bundle: Path, file: Path) -> list[str]:
    return ["eval", str(bundle), "--reference", cell.model, *_where(cell), "-o", str(file)]


def _where(cell: Cell) -> list[str]:
    """Besides the target, which is the bundle's own."""
    backend = ["--backend", cell.backend] if cell.backend else []
    return [*backend, *_stand_in(cell)]


def _stand_in(cell: Cell) -> list[str]:
    return ["--simulate"] if cell.simulate else []


def run(arguments: list[str], timeout: float) -> Outcome:
    """The real runner: the command itself, ended with all it started."""
    with subprocess.Popen(
        processes.python("qdeploy.__main__", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            _, told = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return Outcome(None, f"it took more than {timeout:g} s")
        finally:
            processes.end(child)
    return understood(child.returncode, told)


def understood(code: int, told: str) -> Outcome:
    """What a command meant by its exit code and what it wrote to stderr."""
    lines = [line.rstrip() for line in told.splitlines() if line.strip()]
    if code < 0:
        return Outcome(code, f"it {processes.ending(code)}")
    starts = [i for i, line in enumerate(lines) if line.lower().startswith(_ERRORS)]
    if code == 0 or not starts:
        said = lines[-1].strip() if lines else f"exit code {code}"
        return Outcome(code, "" if code == 0 else said)
    message = lines[starts[-1]].partition("rror: ")[2]
    after = [line.strip() for line in lines[starts[-1] + 1 :]]
    fixes = [line.removeprefix("fix: ") for line in after if line.startswith("fix: ")]
    return Outcome(code, message, fixes[0] if fixes else None)


_ERRORS = ("error: ", "internal error: ")
