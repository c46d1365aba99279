"""Calibration on the command line: its options, the plan's line, the export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qdeploy.cli.matrix import _step_options
from qdeploy.matrix.config import load
from tests.support.calibrated import put_in
from tests.support.command import QuickCommand

WHERE = ("qwen3-nano", "--target", "cpu", "--profile", "cpu-int4-torch")
DETAILS = [
    ("--calibration", "mine.txt"),
    ("--calibration-tokens", "300"),
    ("--calibration-seed", "7"),
]


@pytest.fixture(autouse=True)
def _text(here: Path) -> None:
    (here / "mine.txt").write_text("Text.", encoding="utf-8")


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("command", ["plan", "export"])
def test_a_plan_says_what_it_takes(command: str, quick: QuickCommand) -> None:
    options = ["--calibrate", *(["--dry-run"] if command == "export" else [])]
    said = quick(command, *WHERE, *options)
    assert said.code == 0, said.stderr
    [line] = [line for line in said.stdout.splitlines() if line.startswith("calibration:")]
    for words in (
        "16384 tokens of the model's own text and general texts",
        "on this CPU",
        "peak memory",
        "disk",
    ):
        assert words in line
    assert "int4 sym g128 (calibrated)" in said.stdout
    found = quick(command, *WHERE, *options, "--json").json
    assert found["linear"] == "int4 sym g128 (calibrated)"
    assert found["calibration"]["tokens"] == 16384
    assert found["calibration_cost"].keys() == {"seconds", "memory_bytes", "disk_bytes"}


@pytest.mark.usefixtures("cpu")
def test_without_it_a_plan_says_nothing(quick: QuickCommand) -> None:
    assert "alibrat" not in quick("plan", *WHERE).stdout
    found = quick("plan", *WHERE, "--json").json
    assert (found["calibration"], found["calibration_cost"]) == (None, None)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(("task", "importance"), [("generate", True), ("embed", False)])
def test_a_plan_says_whether_tokens_count_by_importance(
    task: str, importance: bool, quick: QuickCommand
) -> None:
    where = ("qwen3-nano", "--target", "cpu", "--profile", "cpu-int4-openvino")
    found = quick("plan", *where, "--task", task, "--calibrate", "--json").json
    assert found["calibration"]["importance"] is importance


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("detail", DETAILS, ids=lambda detail: detail[0])
def test_an_option_implies_it(detail: tuple[str, str], quick: QuickCommand) -> None:
    asked = quick("plan", *WHERE, *detail, "--json").json["calibration"]
    assert asked is not None
    assert detail[1] in map(str, asked.values())


@pytest.mark.parametrize("command", ["plan", "export"])
@pytest.mark.parametrize("detail", DETAILS, ids=lambda detail: detail[0])
def test_an_option_contradicts_no_calibrate(
    command: str, detail: tuple[str, str], quick: QuickCommand
) -> None:
    quick(command, *WHERE, "--no-calibrate", *detail).fails(
        2, "Usage:", f"{detail[0]} asks for calibration", "--no-calibrate forbids it"
    )


@pytest.mark.parametrize("options", [("--calibrate",), ("--no-calibrate",), *DETAILS])
def test_a_plan_with_it_needs_a_target(options: tuple[str, ...], quick: QuickCommand) -> None:
    quick("plan", "qwen3-nano", *options).fails(2, "need a --target")


def test_values_that_cannot_be(quick: QuickCommand) -> None:
    quick("plan", *WHERE, "--calibration-seed", "-1").fails(2, "--calibration-seed")
    quick("plan", *WHERE, "--calibration-tokens", "255").fails(2, "256")
    quick("plan", *WHERE, "--calibration", "missing.txt").fails(2, "missing.txt", "cannot be read")
    quick("export", *WHERE[:3], "--profile", "cpu-fp16-vllm", "--calibrate").fails(
        2, "nothing to calibrate", "leave --calibrate out, or give a --profile of int4 or int8"
    )


def test_an_export(here: Path, quick: QuickCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = put_in(monkeypatch)
    done = quick("export", *WHERE, "--calibrate", "-o", "nano", "--json")
    assert done.code == 0, done.stderr
    assert done.json["calibration_record"]["method"] == "negation"
    assert done.json["linear"] == "int4 sym g128 (calibrated)"
    manifest = json.loads((here / "nano" / "qdeploy.json").read_text(encoding="utf-8"))
    assert manifest["calibration"] == done.json["calibration_record"]
    plain = quick("export", *WHERE, "-o", "plain", "--json")
    assert plain.json["calibration_record"] is None
    assert len(engine.calibrated) == 1


def test_a_warning_of_the_texts_is_told_even_with_json(
    quick: QuickCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = put_in(monkeypatch)
    engine.warnings.append("mine.txt is short")
    done = quick("export", *WHERE, "--calibration", "mine.txt", "-o", "nano", "--json")
    assert done.json["calibration"]["texts"] == "mine.txt"
    assert "warning: mine.txt is short" in done.stderr


def test_a_matrix_passes_the_options_on(here: Path) -> None:
    file = here / "matrix.toml"
    file.write_text(
        'schema = 1\nmodels = ["qwen3-nano"]\n[arguments]\nexport = ["--calibrate"]\n',
        encoding="utf-8",
    )
    assert _step_options(load(file), file)["export"]["calibrate"] is True


def test_progress_counts_steps_and_then_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    from qdeploy.cli import progress

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, _environ={})
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with progress.ExportProgress() as shown:
        shown.stage("finding the importance of tokens")
        shown.step(0, 4)
        shown.stage("calibrating the layers")
        for done in range(20, 57):
            shown.step(done, 56)
        shown._bar.refresh()
        assert "calibrating the layers" in screen.getvalue()
        assert "56/56" in screen.getvalue()
        assert "bytes" not in screen.getvalue()
        shown.begin(2_000_000)
        shown.stage("checksums")
        shown.written(1_000_000)
        shown._bar.refresh()
        assert "1.0/2.0 MB" in screen.getvalue()
    assert sys.stderr is not screen


@pytest.mark.usefixtures("cpu")
def test_limits_imply_it(quick: QuickCommand) -> None:
    bits = quick("plan", *WHERE, "--average-bits", "5", "--json").json
    assert bits["calibration"] is not None
    assert "bits on average (calibrated)" in bits["linear"]
    size = quick("plan", *WHERE, "--fit", "4.2MB", "--json").json
    assert size["bundle_bytes"] <= 4_200_000
    both = quick("plan", *WHERE, "--average-bits", "5", "--fit", "4MB")
    assert both.code == 2
    assert "two limits" in both.stderr
    small = quick("export", *WHERE, "--fit", "100kB")
    assert small.code == 2
    assert "is below the" in small.stderr
