"""The steps of the matrix: functions that run in a worker process with a deadline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from qdeploy.bench.parent import BenchOptions, BenchOutcome, check_bench, measure
from qdeploy.bench.protocol import make_protocol
from qdeploy.deploy import run
from qdeploy.deploy.api import export
from qdeploy.deploy.api import open as open_bundle
from qdeploy.doctor.cases import cases
from qdeploy.doctor.examine import LIMIT, examine
from qdeploy.errors import CheckFailed, QdeployError, TargetUnavailable
from qdeploy.evaluate.evaluation import evaluate
from qdeploy.results import Diagnosis, collect_results
from qdeploy.results.machine import describe_machine
from qdeploy.system.parent import Parent, bugs_as_errors
from qdeploy.system.worker import WorkerFailed, run_worker

Name = Literal["doctor", "export", "bench", "eval"]
Failure = Literal["crash", "hang", "wrong", "error"]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One step for one cell.

    Attributes:
        target, model, profile, backend, simulate: of the cell.
        output: the results file, or the bundle of `export`.
        bundle: the bundle that `bench` and `eval` measure.
        options: keyword arguments of the step's function; plain data.
    """

    name: Name
    target: str
    model: str
    profile: str | None
    backend: str | None
    simulate: bool
    output: Path
    bundle: Path | None = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        status: `ok`, `absent`, or the kind of failure.
        message, fix: one line each, unless the status is `ok`.
    """

    status: Literal["ok", "absent"] | Failure = "ok"
    message: str = ""
    fix: str | None = None

    @property
    def failure(self) -> Failure | None:
        """The kind of failure, if it is one."""
        return None if self.status == "ok" or self.status == "absent" else self.status


Runner = Callable[[Step, float], Outcome]
"""Runs a step with a deadline in seconds."""


def run_step(step: Step, seconds: float) -> Outcome:
    """Run a step in a worker process."""
    try:
        result = run_worker(work, asdict(step), seconds=seconds)
    except TargetUnavailable as error:
        return Outcome("absent", _line(error), error.fix)
    except QdeployError as error:
        failure: Failure = "wrong" if isinstance(error, CheckFailed) else "error"
        return Outcome(failure, _line(error), error.fix)
    except WorkerFailed as error:
        if error.code is None:
            return Outcome("hang", f"it took more than {seconds:g} s")
        return Outcome("crash", f"it {error}")
    return _doctors(result) if step.name == "doctor" else Outcome()


def work(job: dict[str, Any], parent: Parent) -> Any:
    """The worker's end: do a `Step`, given as a dict of its fields."""
    bundle = job["bundle"] and Path(job["bundle"])
    step = Step(**job | {"output": Path(job["output"]), "bundle": bundle})
    with bugs_as_errors():
        if unknown := step.options.keys() - options_of(step.name):
            raise TypeError(f"{step.name} takes no option {', '.join(sorted(unknown))}")
        return _STEPS[step.name](step, **step.options)


def options_of(name: Name) -> frozenset[str]:
    """Return the names of the options that a step takes."""
    parameters = inspect.signature(_PASSED_TO.get(name, _STEPS[name])).parameters.values()
    taken = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    return taken - _OF_CELL if name in _PASSED_TO else taken


def _doctor(
    step: Step, *, profile: str | None = None, timeout: float | None = None
) -> list[dict[str, Any]]:
    here = describe_machine()
    collection = collect_results(step.output, here)
    todo = cases(step.target, profile_name=profile, simulate=step.simulate)
    rows = [examine(case, limit=timeout or LIMIT) for case in todo]
    collection.save(here, rows)
    return [row.model_dump(mode="json") for row in rows]


def _export(step: Step, **options: Any) -> None:
    export(step.model, target=step.target, output=step.output, profile=step.profile, **options)


def _bench(
    step: Step,
    *,
    prompt: str | None = None,
    new: str | None = None,
    runs: int = 3,
    processes: int = 3,
    device: run.Which = 0,
    threads: int | None = None,
    peer: bool = False,
    machine: str | None = None,
) -> None:
    here = describe_machine(machine)
    collection = collect_results(step.output, here, named=machine is not None)
    bundles = [open_bundle(_bundle_of(step), full=True)]
    protocol = make_protocol(bundles, prompt, new, runs, processes)
    options = BenchOptions(step.backend, device, step.simulate, peer, threads)
    check_bench(bundles, protocol, options)

    def save(outcome: BenchOutcome) -> None:
        collection.save(outcome.machine, outcome.all_rows())

    outcome = measure(
        bundles, protocol, here, options, save=save, on_step=lambda title, done, total: None
    )
    if outcome.failure is not None:
        raise outcome.failure


def _evaluate(step: Step, **options: Any) -> None:
    here = describe_machine()
    collection = collect_results(step.output, here)
    found = evaluate(
        _bundle_of(step),
        reference=step.model,
        backend=step.backend,
        simulate=step.simulate,
        **options,
    )
    collection.save(here, found.results)
    found.check()


_STEPS: dict[Name, Callable[..., Any]] = {
    "doctor": _doctor, "export": _export, "bench": _bench, "eval": _evaluate,
}  # fmt: skip
_PASSED_TO: dict[Name, Callable[..., Any]] = {"export": export, "eval": evaluate}
"""The functions that take a step's options as they are."""
_OF_CELL = frozenset(
    {"target", "profile", "backend", "simulate", "output", "reference", "force", "progress"}
)
"""Those of their options that the cell or the matrix decides."""


def _bundle_of(step: Step) -> Path:
    assert step.bundle is not None  # noqa: S101
    return step.bundle


def _line(error: QdeployError) -> str:
    return ": ".join(filter(None, (error.where, error.what)))


def _doctors(rows: Sequence[dict[str, Any]]) -> Outcome:
    """Return the outcome of doctor's rows: the first failure, else absent if every row is."""
    found = [Diagnosis(**row) for row in rows]
    failed = [row for row in found if row.status == "failed"]
    if failed:
        first = failed[0]
        return Outcome(first.failure or "error", first.message or "", first.fix)
    if all(row.status == "absent" for row in found):
        return Outcome("absent", found[0].message or "absent", found[0].fix)
    return Outcome()
