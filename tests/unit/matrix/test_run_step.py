"""Steps of the matrix, each in a worker process of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qdeploy.matrix import steps
from qdeploy.matrix.steps import Outcome, Step, run_step
from qdeploy.results import Diagnosis, read_results
from tests.support import shown
from tests.support.workers import make_work


def step(name: Any, output: Path, target: str = "intel-cpu", **changes: Any) -> Step:
    known = {"model": "qwen3-nano", "profile": None, "backend": None, "simulate": False}
    return Step(name, target, output=output, **known | changes)


def test_doctor_ends_as_its_first_row_says_and_writes_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "doctor.json"
    outcome = run_step(step("doctor", file, "dcu"), 60)
    row, *_ = read_results(file).results
    assert isinstance(row, Diagnosis)
    assert outcome == Outcome("absent", row.message or "", row.fix)


def test_an_error_comes_with_its_place_and_fix(tmp_path: Path) -> None:
    outcome = run_step(step("export", tmp_path / "bundle", "intel-cup"), 60)
    assert (outcome.status, outcome.message) == ("error", "unknown target 'intel-cup'")
    assert outcome.fix == "did you mean 'intel-cpu'?"
    bundle = tmp_path / "nowhere"
    outcome = run_step(step("bench", tmp_path / "r.json", bundle=bundle), 60)
    assert outcome.message.startswith(f"{bundle}: no such bundle")


def test_an_unexpected_exception_is_an_error_too(tmp_path: Path) -> None:
    outcome = run_step(step("eval", tmp_path / "r.json", options={"depth": 1}), 60)
    assert outcome.status == "error"
    assert outcome.message.startswith("TypeError: ")
    assert "depth" in outcome.message


@pytest.mark.skipif(os.name != "posix", reason="signals have names on POSIX")
def test_a_crash_is_told_with_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_work(
        tmp_path, monkeypatch, "print('no such symbol', file=sys.stderr)", "os.abort()"
    )
    monkeypatch.setattr(steps, "work", work)
    outcome = run_step(step("bench", tmp_path / "r.json"), 60)
    assert outcome == Outcome("crash", "it was killed by SIGABRT: no such symbol")


def test_a_hang_ends_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "work", make_work(tmp_path, monkeypatch, "time.sleep(600)"))
    outcome = run_step(step("bench", tmp_path / "r.json"), 2)
    assert outcome == Outcome("hang", "it took more than 2 s")


def test_doctor_fails_with_its_first_failure() -> None:
    sound, gone = shown.diagnosis(), shown.absent("intel-cpu", "no such device", "buy one")
    broken = shown.diagnosis(status="failed", failure="wrong", message="answers differ")
    ends = [
        steps._doctors([row.model_dump(mode="json") for row in rows])
        for rows in ([sound, broken], [gone, sound], [gone, gone])
    ]
    fix = broken.fix
    assert ends[0] == Outcome("wrong", "answers differ", fix)
    assert ends[1:] == [Outcome(), Outcome("absent", "no such device", "buy one")]
