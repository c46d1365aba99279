"""`qdeploy doctor`: every kind of failure is a row of the table, and has its exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qdeploy import registry
from qdeploy.bundle import open_bundle
from qdeploy.doctor import cases
from qdeploy.planning.profile import profile_source
from qdeploy.results import Diagnosis, read_results
from qdeploy.targets import Evidence
from tests.support.bundles import profile_text
from tests.support.command import Command, QuickCommand, Result
from tests.support.plugins import write_distribution
from tests.support.real import NEEDS_RUNTIME
from tests.support.sick import SICK

INT8 = profile_source("intel-npu-int4").replace('dtype = "int4"', 'dtype = "int8"')


@pytest.fixture
def doctor(tmp_path_factory: pytest.TempPathFactory, here: Path) -> QuickCommand:
    """Return the command with a backend that fails in every way."""
    folder = tmp_path_factory.mktemp("sick")
    write_distribution(folder, "sick", SICK)
    return QuickCommand(here, folder)


def examine(doctor: QuickCommand, ill: str, *more: str) -> Result:
    (doctor.folder / "ill.toml").write_text(profile_text(ill=ill), encoding="utf-8")
    return doctor("doctor", "scripted", "--profile", "ill.toml", "--json", *more)


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.json["results"]
    return found


ILLS = {
    "abort": (1, "crash", "none", "SIGABRT while loading (driver: assertion failed)", "driver"),
    "raise": (1, "error", "none", "the device ran away", "catch it"),
    "bug": (1, "error", "none", "ZeroDivisionError: an unexpected error", None),
    "wrong": (4, "wrong", "device", "mean KL nan nats", "report it with qwen3-nano"),
    "shape": (4, "wrong", "device", "logits of shape", "report it"),
    "stray": (4, "wrong", "device", "token 1 of the answer is not the top-1", "report it"),
}
"""Exit code, kind of failure, evidence (after the load), parts of message and fix."""


@pytest.mark.skipif(os.name != "posix", reason="signals have names on POSIX")
@pytest.mark.parametrize("ill", ILLS)
def test_every_illness_is_a_row_with_its_class_and_fix(ill: str, doctor: QuickCommand) -> None:
    code, failure, evidence, message, fix = ILLS[ill]
    result = examine(doctor, ill)
    assert result.code == code
    assert [row["model"] for row in rows(result)] == ["qwen3-nano", "qwen3-nano-moe"]
    for row in rows(result):
        assert (row["status"], row["failure"]) == ("failed", failure)
        assert (row["backend"], row["device"]) == ("sick", "a sick device")
        assert (row["evidence"], row["profile"]) == (evidence, "ill")
        assert message in row["message"]
        assert fix is None or fix in row["fix"]


def test_what_json_prints_is_a_file_for_report(doctor: QuickCommand) -> None:
    done = examine(doctor, "raise")
    assert done.code == 1
    assert doctor.reports(done) == len(rows(done))


def test_a_hang_ends_at_the_time_limit(doctor: QuickCommand) -> None:
    result = examine(doctor, "hang", "--timeout", "3")
    assert result.code == 1
    for row in rows(result):
        assert row["failure"] == "hang"
        assert "no end after 3 s, while" in row["message"]
        assert row["evidence"] == "none"
        assert "--timeout" in row["fix"]


def test_what_breaks_before_the_runtime_is_asked_is_no_evidence(doctor: QuickCommand) -> None:
    file = doctor.folder / "file"
    file.touch()
    (doctor.folder / "well.toml").write_text(profile_text(), encoding="utf-8")
    arguments = ("doctor", "scripted", "--profile", "well.toml", "--json")
    result = doctor(*arguments, QDEPLOY_CACHE_DIR=str(file))
    assert result.code == 1
    for row in rows(result):
        assert "the folder cannot be written" in row["message"]
        assert (row["device"], row["evidence"]) == ("a sick device", "none")


@pytest.mark.parametrize("well", ["", "chatter"])
def test_a_sound_runtime_is_well_whatever_it_prints(well: str, doctor: QuickCommand) -> None:
    result = examine(doctor, well)
    assert result.code == 0
    assert {row["status"] for row in rows(result)} == {"ok"}
    assert all(row["seconds"] > 0 for row in rows(result))


def test_a_damaged_bundle_in_the_cache_is_made_anew(doctor: QuickCommand) -> None:
    first = examine(doctor, "")
    kept = list(
        (Path(doctor.environment()["QDEPLOY_CACHE_DIR"]) / "bundles").glob("*/qdeploy.json")
    )
    assert len(kept) == len(rows(first)) == 2
    kept[0].unlink()
    kept[1].write_text("{", encoding="utf-8")
    assert examine(doctor, "").code == 0
    assert all(open_bundle(file.parent, full=True) for file in kept)


def test_the_table_and_the_progress(doctor: QuickCommand) -> None:
    (doctor.folder / "ill.toml").write_text(profile_text(ill="raise"), encoding="utf-8")
    result = doctor("doctor", "scripted", "--profile", "ill.toml")
    for words in ("evidence", "error", "a sick device", "the device ran away", "catch it"):
        assert words in result.stdout
    assert "[2/2] scripted · sick · qwen3-nano-moe" in result.stderr


def test_a_target_without_a_backend_is_absent(
    quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "backends_for", lambda *_, **__: [])
    result = quick("doctor", "dcu", "-o", "out/doctor.json", "--json")
    [row] = rows(result)
    assert (result.code, row["status"], row["evidence"]) == (3, "absent", "none")
    assert "no installed backend serves it" in row["message"]
    written = read_results(quick.folder / "out/doctor.json")
    assert [r.model_dump(mode="json") for r in written.results] == [row]
    assert written.machine.cores >= 1


def test_a_device_that_is_absent_is_not_broken(here: Path, quick: QuickCommand) -> None:
    (here / "not.toml").write_text(profile_text("unscripted"), encoding="utf-8")
    result = quick("doctor", "unscripted", "--profile", "not.toml", "--json")
    assert result.code == 3
    for row in rows(result):
        assert (row["status"], row["message"]) == ("absent", "its script is missing")
        assert row["fix"] == "pip install 'script[writer]'"
        assert row["evidence"] == "none"


def test_a_simulated_device_is_tried_only_where_it_is_asked_for(
    here: Path, quick: QuickCommand
) -> None:
    """The scripted runtime gives wrong answers; this checks where it ran."""
    (here / "not.toml").write_text(profile_text("unscripted"), encoding="utf-8")
    result = quick("doctor", "unscripted", "--profile", "not.toml", "--simulate", "--json")
    assert result.code == 4
    assert [row["evidence"] for row in rows(result)] == ["none"] * 2 + ["simulated"] * 2
    assert all("script (simulation)" in row["device"] for row in rows(result)[2:])


def test_a_target_without_a_profile_is_absent(quick: QuickCommand) -> None:
    result = quick("doctor", "scripted", "--json")
    assert result.code == 3
    assert "--profile FILE.toml" in rows(result)[0]["fix"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nvidia"], ["unknown target 'nvidia'"]),
        (["dcu", "--profile", "none.toml"], ["none.toml", "cannot read the profile"]),
        (["--profile", "intel-cpu-int4"], ["--profile needs a TARGET"]),
        (["cpu", "--profile", "intel-cpu-int4"],
         ["profile 'intel-cpu-int4' is for target 'intel-cpu', not 'cpu'",
          "qdeploy doctor intel-cpu"]),
        (["intel-npu", "--profile", "int8.toml"], ["profile 'int8' cannot run on intel-npu"]),
        (["dcu", "--timeout", "0"], ["timeout"]),
    ],
)  # fmt: skip
def test_bad_input_is_refused(
    arguments: list[str], says: list[str], here: Path, quick: QuickCommand
) -> None:
    (here / "int8.toml").write_text(INT8, encoding="utf-8")
    quick("doctor", *arguments).fails(2, *says)


class TestExitCode:
    @staticmethod
    def code(*kinds: str, named: bool) -> int:
        from qdeploy.cli.doctor import exit_code

        made = [
            Diagnosis(
                target="t", backend="b", evidence=Evidence.NONE,
                status=kind if kind in ("ok", "absent") else "failed",  # type: ignore[arg-type]
                failure=None if kind in ("ok", "absent") else kind,  # type: ignore[arg-type]
            )
            for kind in kinds
        ]  # fmt: skip
        return exit_code(made, named=named)

    def test_absence_counts_only_for_a_target_that_was_named(self) -> None:
        assert self.code("absent", "absent", named=False) == 0
        assert self.code("absent", "absent", named=True) == 3
        assert self.code("absent", "ok", named=True) == 0

    def test_wrong_answers_are_a_failed_check_and_anything_worse_is_worse(self) -> None:
        assert self.code("ok", "wrong", named=False) == 4
        assert self.code("wrong", "hang", named=False) == 1
        assert self.code("absent", "crash", named=True) == 1


def test_only_backends_that_load_the_profiles_format_are_tried() -> None:
    both = {case.backend for case in cases.cases("intel-cpu")}
    one = {case.backend for case in cases.cases("intel-cpu", profile_name="intel-cpu-int4")}
    assert (both, one) == ({"openvino", "onnxruntime"}, {"openvino"})


@NEEDS_RUNTIME
@pytest.mark.slow
def test_for_real_on_this_cpu(qdeploy: Command) -> None:
    result = qdeploy("doctor", "cpu", "--json")
    assert result.code == 0, result.stdout + result.stderr
    found = [row for row in rows(result) if row["backend"] == "openvino"]
    assert [row["model"] for row in found] == ["qwen3-nano", "qwen3-nano-moe"]
    assert [(row["status"], row["evidence"]) for row in found] == [("ok", "device")] * 2
    assert all(row["status"] in ("ok", "absent") for row in rows(result))
