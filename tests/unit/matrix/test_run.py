"""Running the matrix with commands that are only pretended: every way that a step can end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.errors import CheckFailed, OutputError, QdeployError, TargetUnavailable
from qdeploy.matrix import commands
from qdeploy.matrix.commands import Outcome
from qdeploy.matrix.config import Arguments, Cell, Config
from qdeploy.matrix.run import Matrix, Ran, judge, required
from qdeploy.report.data.merged import read_result_files
from qdeploy.results import Diagnosis, Result, read_results, write_results
from qdeploy.results.machine import describe_machine
from tests.support import shown

CPU, GPU = registry.target("intel-cpu"), registry.target("intel-gpu")
NANO = Cell(CPU, "qwen3-nano", "intel-cpu-int4", "openvino")
OTHER = Cell(CPU, "qwen3-nano-moe", "intel-cpu-int4", "openvino")
GONE = Cell(registry.target("rocm"), "qwen3-nano", absent="no installed backend serves it")
OK = Outcome(0)


class Pretended:
    """Runs nothing: writes the file of results that a command would, and ends as it is told.

    Args:
        ends: outcomes by command; all others end well.
        silent: commands that leave no file behind.
        rows: what the doctor writes.
    """

    def __init__(
        self, *, silent: Sequence[str] = (), rows: Sequence[Diagnosis] = (), **ends: Outcome
    ) -> None:
        self.lines: list[list[str]] = []
        self._ends, self._silent, self._rows = ends, silent, rows or [shown.diagnosis()]

    def __call__(self, arguments: list[str], timeout: float) -> Outcome:
        self.lines.append(arguments)
        name = arguments[0]
        made: dict[str, Sequence[Result]] = {
            "doctor": self._rows, "bench": [shown.bench()], "eval": [shown.evaluation()],
        }  # fmt: skip
        if name in made and name not in self._silent:
            file = Path(arguments[arguments.index("-o") + 1])
            write_results(shown.file(*made[name]), file)
        return self._ends.get(name, OK)

    @property
    def names(self) -> list[str]:
        return [line[0] for line in self.lines]


def run(
    folder: Path, runner: commands.Runner, *cells: Cell, **arguments: Any
) -> tuple[list[Ran], list[Result]]:
    """What became of the cells, and every result in the folder."""
    settings = Config(schema=1, models=("m",), arguments=Arguments(**arguments))
    done = Matrix(settings, folder, describe_machine, runner, lambda _: None).run(cells)
    return done, [r for file in read_result_files([folder]) for r in file.results]


def diagnoses(found: Sequence[Result], status: str) -> list[Diagnosis]:
    return [r for r in found if isinstance(r, Diagnosis) and r.status == status]


def test_a_cell_is_exported_measured_and_evaluated_after_the_doctor(tmp_path: Path) -> None:
    pretended = Pretended()
    done, found = run(tmp_path / "out", pretended, NANO, OTHER)
    assert [ran.status for ran in done] == ["ok", "ok"]
    assert pretended.names == ["doctor", *["export", "bench", "eval"] * 2]
    assert [r.kind for r in found] == ["diagnosis", *["bench", "eval"] * 2]
    judge(done)


def test_the_command_lines(tmp_path: Path) -> None:
    pretended = Pretended()
    stand_in = Cell(registry.target("intel-npu"), "m", "intel-npu-int4", "openvino", simulate=True)
    run(tmp_path / "out", pretended, stand_in, bench=["--quick"])
    doctor, export, bench, evaluate = pretended.lines
    out, bundle = str(tmp_path / "out"), export[-1]
    assert doctor[:-1] == ["doctor", "intel-npu", "--simulate", "-o"]
    assert export[:-1] == [
        "export", "m", "--target", "intel-npu", "--profile", "intel-npu-int4", "-o",
    ]  # fmt: skip
    where = ["--backend", "openvino", "--simulate", "-o"]
    assert bench[:-2] == ["bench", bundle, *where]
    assert bench[-1] == "--quick"
    assert evaluate[:-1] == ["eval", bundle, "--reference", "m", *where]
    assert doctor[-1].startswith(out)
    assert not Path(bundle).parent.exists()


def test_bundles_lie_in_the_folder_of_the_results_while_it_runs(tmp_path: Path) -> None:
    """Nothing beside that folder need be writable: it may be a mounted volume."""
    beside: set[str] = set()
    pretended = Pretended()

    def watched(arguments: list[str], timeout: float) -> Outcome:
        beside.update(place.name for place in tmp_path.iterdir())
        return pretended(arguments, timeout)

    run(tmp_path / "out", watched, NANO)
    bundle = Path(next(line[-1] for line in pretended.lines if line[0] == "export"))
    assert tmp_path / "out" in bundle.parents
    assert beside == {"out"}
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".json"}


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)  # root may write anywhere
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)"):
        run(tmp_path / "out", Pretended(), NANO)


def test_a_bundle_is_exported_once_for_all_backends(tmp_path: Path) -> None:
    pretended = Pretended()
    second = Cell(CPU, "qwen3-nano", "intel-cpu-int4", "another")
    run(tmp_path / "out", pretended, NANO, second)
    assert pretended.names == ["doctor", "export", *["bench", "eval"] * 2]


def test_what_cannot_run_anywhere_is_absent_and_nothing_is_started(tmp_path: Path) -> None:
    pretended = Pretended()
    done, found = run(tmp_path / "out", pretended, GONE)
    assert pretended.names == []
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
    gone = Outcome(3, "no such device", "install the driver")
    pretended = Pretended(doctor=gone, silent=silent)
    done, found = run(tmp_path / "out", pretended, NANO, OTHER)
    assert pretended.names == ["doctor"]
    assert [(r.status, r.message) for r in done] == [("absent", "no such device")] * 2
    rows = diagnoses(found, "absent")
    assert [r.fix for r in rows] == (["install the driver"] * 2 if silent else [])


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome(1, "it broke"), "error"),
        (Outcome(2, "bad input"), "error"),
        (Outcome(4, "answers differ"), "wrong"),
        (Outcome(-11, "it was killed by SIGSEGV"), "crash"),
        (Outcome(None, "it took more than 9 s"), "hang"),
    ],
)
@pytest.mark.parametrize("step", ["export", "bench", "eval"])
def test_a_step_that_fails_is_a_row_with_its_kind_and_the_rest_goes_on(
    step: str, outcome: Outcome, kind: str, tmp_path: Path
) -> None:
    pretended = Pretended(silent=(step,), rows=(), **{step: outcome})
    done, found = run(tmp_path / "out", pretended, NANO, OTHER)
    rows = diagnoses(found, "failed")
    assert [(r.failure, r.message, r.model) for r in rows] == [
        (kind, f"{step}: {outcome.message}", model) for model in ("qwen3-nano", "qwen3-nano-moe")
    ]
    assert len(pretended.names) == (3 if step == "export" else 7)
    with pytest.raises(QdeployError, match=rf"{step}: {outcome.message} \(and 1 more\)") as caught:
        judge(done)
    assert caught.value.exit_code == 1


def test_a_gate_that_says_no_keeps_its_results_and_is_exit_code_4(tmp_path: Path) -> None:
    pretended = Pretended(eval=Outcome(4, "kl_mean 0.2 > 0.05"))
    done, found = run(tmp_path / "out", pretended, NANO)
    assert [r.kind for r in found] == ["diagnosis", "bench", "eval"]
    with pytest.raises(CheckFailed, match="kl_mean"):
        judge(done)


def test_what_the_doctor_wrote_is_told_rather_than_its_progress(tmp_path: Path) -> None:
    row = shown.absent("intel-cpu", "no such device", "install the driver")
    pretended = Pretended(doctor=Outcome(3, "[2/2] intel-cpu"), rows=[row])
    done, _ = run(tmp_path / "out", pretended, NANO)
    assert done[0].message == "no such device"
    broken = shown.diagnosis(status="failed", failure="wrong", message="answers differ")
    pretended = Pretended(doctor=Outcome(4, "[2/2] intel-cpu"), rows=[shown.diagnosis(), broken])
    done, _ = run(tmp_path / "again", pretended, NANO)
    assert (done[0].status, done[0].message) == ("failed", "doctor: answers differ")


def test_a_doctor_that_finds_something_broken_fails_the_matrix(tmp_path: Path) -> None:
    done, found = run(tmp_path / "out", Pretended(doctor=Outcome(4, "answers differ")), NANO)
    assert [r.kind for r in found] == ["diagnosis", "bench", "eval"]
    with pytest.raises(QdeployError, match="doctor: answers differ"):
        judge(done)


def test_a_step_that_ends_well_without_results_is_a_failure(tmp_path: Path) -> None:
    done, _ = run(tmp_path / "out", Pretended(silent=("bench",)), NANO)
    assert (done[0].status, done[0].message) == (
        "failed", "bench: bench ended well and wrote no results",
    )  # fmt: skip


def test_a_device_that_vanishes_in_mid_run_keeps_what_was_measured(tmp_path: Path) -> None:
    vanished = Outcome(3, "the device is gone")
    done, found = run(tmp_path / "out", Pretended(eval=vanished, silent=("eval",)), NANO)
    assert [r.kind for r in found] == ["diagnosis", "bench", "diagnosis"]
    assert done[0].status == "absent"


def test_a_device_that_is_not_there_is_not_asked_twice(tmp_path: Path) -> None:
    pretended = Pretended(bench=Outcome(3, "no driver"), silent=("bench",))
    done, found = run(tmp_path / "out", pretended, NANO)
    assert pretended.names == ["doctor", "export", "bench"]
    assert [r.message for r in diagnoses(found, "absent")] == [done[0].message] == ["no driver"]


def test_an_absent_target_that_is_required_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _ = run(tmp_path / "out", Pretended(bench=Outcome(1, "broke")), NANO, GONE)
    monkeypatch.setenv("QDEPLOY_REQUIRE", "intel-cpu, rocm,")
    with pytest.raises(TargetUnavailable, match="required by QDEPLOY_REQUIRE, and absent"):
        judge(done, required([NANO, GONE]))


def test_the_rows_of_the_matrix_are_of_the_machine_that_the_steps_describe(tmp_path: Path) -> None:
    run(tmp_path / "out", Pretended(), NANO, GONE)
    assert read_results(tmp_path / "out" / "matrix.json").machine == shown.SERVER


def test_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "old.json").touch()
    with pytest.raises(OutputError, match="not empty"):
        run(tmp_path, Pretended(), NANO)


@pytest.mark.parametrize(
    ("code", "told", "outcome"),
    [
        (0, "progress\n", Outcome(0)),
        (3, "one\nerror: x: no device\n  fix: buy one\n", Outcome(3, "x: no device", "buy one")),
        (1, "internal error: KeyError: 'a'\n  qdeploy --debug ... shows where\n",
         Outcome(1, "KeyError: 'a'")),
        (2, "Usage: qdeploy bench\n\nError: No such option\n", Outcome(2, "No such option")),
        (9, "", Outcome(9, "exit code 9")),
        (-9, "half a li", Outcome(-9, "it was killed by SIGKILL")),
        (-99, "", Outcome(-99, "it was killed by signal 99")),
    ],
)  # fmt: skip
def test_what_a_command_meant(code: int, told: str, outcome: Outcome) -> None:
    assert commands.understood(code, told) == outcome


def test_the_real_runner_understands_the_real_command() -> None:
    assert commands.run(["profiles"], 60) == OK
    refused = commands.run(["plan", "qwen3-nano", "--target", "intel-cup"], 60)
    assert refused == Outcome(2, "unknown target 'intel-cup'", "did you mean 'intel-cpu'?")


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "qdeploy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "child.wait()\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert commands.run([], 2) == Outcome(None, "it took more than 2 s")
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or " Z " in state.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there, on {sys.platform}")
