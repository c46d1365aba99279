"""Running the matrix with fake steps that end in every way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.errors import CheckFailed, OutputError, QdeployError, TargetUnavailable
from qdeploy.matrix.config import Cell, Config
from qdeploy.matrix.run import CellOutcome, Matrix, judge, required
from qdeploy.matrix.steps import Outcome, Runner, Step
from qdeploy.report.data.merged import read_result_files
from qdeploy.results import Diagnosis, Result, read_results, write_results
from qdeploy.results.machine import describe_machine
from tests.support import shown

CPU, GPU = registry.target("intel-cpu"), registry.target("intel-gpu")
NANO = Cell(CPU, "qwen3-nano", "intel-cpu-int4", "openvino")
OTHER = Cell(CPU, "qwen3-nano-moe", "intel-cpu-int4", "openvino")
GONE = Cell(registry.target("rocm"), "qwen3-nano", absent="no installed backend serves it")
OK = Outcome()


class FakeRunner:
    """A fake runner: writes the results file of a step, and returns a given outcome.

    Args:
        ends: outcomes by step; the others succeed.
        silent: steps that write no file.
        rows: the rows of doctor.
    """

    def __init__(
        self, *, silent: Sequence[str] = (), rows: Sequence[Diagnosis] = (), **ends: Outcome
    ) -> None:
        self.steps: list[Step] = []
        self._ends, self._silent, self._rows = ends, silent, rows or [shown.diagnosis()]

    def __call__(self, step: Step, seconds: float) -> Outcome:
        self.steps.append(step)
        made: dict[str, Sequence[Result]] = {
            "doctor": self._rows, "bench": [shown.bench()], "eval": [shown.evaluation()],
        }  # fmt: skip
        if step.name in made and step.name not in self._silent:
            write_results(shown.file(*made[step.name]), step.output)
        return self._ends.get(step.name, OK)

    @property
    def names(self) -> list[str]:
        return [step.name for step in self.steps]


def run(
    folder: Path, runner: Runner, *cells: Cell, **options: Any
) -> tuple[list[CellOutcome], list[Result]]:
    """Return the outcomes of the cells, and every result in the directory."""
    settings = Config(schema=1, models=("m",))
    matrix = Matrix(settings, folder, describe_machine, runner, lambda _: None, options)  # type: ignore[arg-type]
    done = matrix.run(cells)
    return done, [r for file in read_result_files([folder]) for r in file.results]


def diagnoses(found: Sequence[Result], status: str) -> list[Diagnosis]:
    return [r for r in found if isinstance(r, Diagnosis) and r.status == status]


def test_a_cell_is_exported_measured_and_evaluated_after_the_doctor(tmp_path: Path) -> None:
    runner = FakeRunner()
    done, found = run(tmp_path / "out", runner, NANO, OTHER)
    assert [ran.status for ran in done] == ["ok", "ok"]
    assert runner.names == ["doctor", *["export", "bench", "eval"] * 2]
    assert [r.kind for r in found] == ["diagnosis", *["bench", "eval"] * 2]
    judge(done)


def test_the_steps_get_the_cell_and_the_options(tmp_path: Path) -> None:
    runner = FakeRunner()
    simulated = Cell(registry.target("intel-npu"), "m", "intel-npu-int4", "openvino", simulate=True)
    run(tmp_path / "out", runner, simulated, bench={"runs": 1})
    doctor, export, bench, evaluate = runner.steps
    out = tmp_path / "out"
    for step in runner.steps:
        assert (step.target, step.model, step.profile) == ("intel-npu", "m", "intel-npu-int4")
        assert (step.backend, step.simulate) == ("openvino", True)
        assert out in step.output.parents
    assert bench.bundle == evaluate.bundle == export.output
    assert (doctor.options, bench.options) == ({}, {"runs": 1})
    assert not export.output.parent.exists()


def test_bundles_lie_in_the_folder_of_the_results_while_it_runs(tmp_path: Path) -> None:
    """The directory may be a mounted volume whose parent is read-only."""
    beside: set[str] = set()
    runner = FakeRunner()

    def watched(step: Step, seconds: float) -> Outcome:
        beside.update(place.name for place in tmp_path.iterdir())
        return runner(step, seconds)

    run(tmp_path / "out", watched, NANO)
    bundle = next(step.output for step in runner.steps if step.name == "export")
    assert tmp_path / "out" in bundle.parents
    assert beside == {"out"}
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".json"}


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)  # root may write anywhere
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)"):
        run(tmp_path / "out", FakeRunner(), NANO)


def test_a_bundle_is_exported_once_for_all_backends(tmp_path: Path) -> None:
    runner = FakeRunner()
    second = Cell(CPU, "qwen3-nano", "intel-cpu-int4", "another")
    run(tmp_path / "out", runner, NANO, second)
    assert runner.names == ["doctor", "export", *["bench", "eval"] * 2]


def test_what_cannot_run_anywhere_is_absent_and_nothing_is_started(tmp_path: Path) -> None:
    runner = FakeRunner()
    done, found = run(tmp_path / "out", runner, GONE)
    assert runner.names == []
    assert [ran.status for ran in done] == ["absent"]
    [row] = diagnoses(found, "absent")
    assert (row.target, row.message, str(row.evidence)) == (
        "rocm", "no installed backend serves it", "none",
    )  # fmt: skip
    judge(done)


@pytest.mark.parametrize("silent", [(), ("doctor",)])
def test_a_target_that_the_doctor_does_not_find_is_absent(
    silent: Sequence[str], tmp_path: Path
) -> None:
    gone = Outcome("absent", "no such device", "install the driver")
    runner = FakeRunner(doctor=gone, silent=silent)
    done, found = run(tmp_path / "out", runner, NANO, OTHER)
    assert runner.names == ["doctor"]
    assert [(r.status, r.message) for r in done] == [("absent", "no such device")] * 2
    rows = diagnoses(found, "absent")
    assert [r.fix for r in rows] == (["install the driver"] * 2 if silent else [])


def test_each_backend_is_absent_for_its_own_reason(tmp_path: Path) -> None:
    rows = [
        shown.diagnosis().model_copy(
            update={"backend": name, "status": "absent", "message": f"{name} is not installed"}
        )
        for name in ("onnxruntime", "openvino")
    ]
    gone = Outcome("absent", rows[0].message or "")
    done, _ = run(tmp_path / "out", FakeRunner(rows=rows, doctor=gone), NANO)
    assert [(r.status, r.message) for r in done] == [("absent", "openvino is not installed")]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome("error", "it broke"), "error"),
        (Outcome("wrong", "answers differ"), "wrong"),
        (Outcome("crash", "it was killed by SIGSEGV"), "crash"),
        (Outcome("hang", "it took more than 9 s"), "hang"),
    ],
)
@pytest.mark.parametrize("step", ["export", "bench", "eval"])
def test_a_step_that_fails_is_a_row_with_its_kind_and_the_rest_goes_on(
    step: str, outcome: Outcome, kind: str, tmp_path: Path
) -> None:
    runner = FakeRunner(silent=(step,), rows=(), **{step: outcome})
    done, found = run(tmp_path / "out", runner, NANO, OTHER)
    rows = diagnoses(found, "failed")
    assert [(r.failure, r.message, r.model) for r in rows] == [
        (kind, f"{step}: {outcome.message}", model) for model in ("qwen3-nano", "qwen3-nano-moe")
    ]
    assert len(runner.names) == (3 if step == "export" else 7)
    with pytest.raises(QdeployError, match=rf"{step}: {outcome.message} \(and 1 more\)") as caught:
        judge(done)
    assert caught.value.exit_code == 1


def test_a_failed_gate_keeps_its_results_and_is_exit_code_4(tmp_path: Path) -> None:
    runner = FakeRunner(eval=Outcome("wrong", "kl_mean 0.2 > 0.05"))
    done, found = run(tmp_path / "out", runner, NANO)
    assert [r.kind for r in found] == ["diagnosis", "bench", "eval"]
    with pytest.raises(CheckFailed, match="kl_mean"):
        judge(done)


def test_a_doctor_that_finds_something_broken_fails_the_matrix(tmp_path: Path) -> None:
    done, found = run(tmp_path / "out", FakeRunner(doctor=Outcome("wrong", "answers differ")), NANO)
    assert [r.kind for r in found] == ["diagnosis", "bench", "eval"]
    with pytest.raises(QdeployError, match="doctor: answers differ"):
        judge(done)


def test_a_step_that_ends_well_without_results_is_a_failure(tmp_path: Path) -> None:
    done, _ = run(tmp_path / "out", FakeRunner(silent=("bench",)), NANO)
    assert (done[0].status, done[0].message) == (
        "failed", "bench: bench succeeded but wrote no results",
    )  # fmt: skip


def test_a_device_that_vanishes_in_mid_run_keeps_what_was_measured(tmp_path: Path) -> None:
    vanished = Outcome("absent", "the device is gone")
    done, found = run(tmp_path / "out", FakeRunner(eval=vanished, silent=("eval",)), NANO)
    assert [r.kind for r in found] == ["diagnosis", "bench", "diagnosis"]
    assert done[0].status == "absent"


def test_a_device_that_is_not_there_is_not_asked_twice(tmp_path: Path) -> None:
    runner = FakeRunner(bench=Outcome("absent", "no driver"), silent=("bench",))
    done, found = run(tmp_path / "out", runner, NANO)
    assert runner.names == ["doctor", "export", "bench"]
    assert [r.message for r in diagnoses(found, "absent")] == [done[0].message] == ["no driver"]


def test_an_absent_target_that_is_required_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _ = run(tmp_path / "out", FakeRunner(bench=Outcome("error", "broke")), NANO, GONE)
    monkeypatch.setenv("QDEPLOY_REQUIRE", "intel-cpu, rocm,")
    with pytest.raises(TargetUnavailable, match="required by QDEPLOY_REQUIRE, and absent"):
        judge(done, required([NANO, GONE]))


def test_the_rows_of_the_matrix_are_of_the_machine_that_the_steps_describe(tmp_path: Path) -> None:
    run(tmp_path / "out", FakeRunner(), NANO, GONE)
    assert read_results(tmp_path / "out" / "matrix.json").machine == shown.SERVER


def test_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "old.json").touch()
    with pytest.raises(OutputError, match="not empty"):
        run(tmp_path, FakeRunner(), NANO)
