"""`qdeploy matrix`: its output, and invalid input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdeploy import registry
from tests.support.command import Command, QuickCommand

WHY = "it has no profile"
ABSENT = 'schema = 1\nmodels = ["qwen3-nano"]\ntargets = ["scripted"]\n'


@pytest.fixture
def absent(here: Path) -> Path:
    """A matrix of a target without a profile."""
    file = here / "absent.toml"
    file.write_text(ABSENT, encoding="utf-8")
    return file


def test_a_dry_run_lists_every_combination(quick: QuickCommand) -> None:
    done = quick("matrix", "--dry-run")
    assert done.code == 0
    for words in (*registry.targets(), "intel-npu-int4", "qwen3-nano-moe"):
        assert words in done.stdout
    cells = quick("matrix", "--dry-run", "--json", "--target", "intel-gpu").json["cells"]
    assert {cell["target"] for cell in cells} == {"intel-gpu"}
    assert cells[0] == {
        "target": "intel-gpu", "profile": "intel-gpu-int4", "backend": "openvino",
        "model": "qwen3-nano", "simulate": False, "absent": None,
    }  # fmt: skip


def test_github_is_one_line_of_json(qdeploy: Command) -> None:
    done = qdeploy("matrix", "--github", "--target", "intel-cpu")
    assert (done.code, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    [job] = json.loads(done.stdout)["include"]
    assert job["target"] == "intel-cpu"


def test_what_is_absent_is_written_down_and_is_no_error(
    absent: Path, quick: QuickCommand, here: Path
) -> None:
    done = quick("matrix", "--config", absent, "-o", "out")
    assert done.code == 0
    assert WHY in done.stdout
    assert "next: qdeploy report out" in done.stderr
    assert quick("report", "out", "-o", "page", "--json").json["results"] == 1
    assert f"absent: {WHY}" in (here / "page" / "index.html").read_text()


def test_json_is_one_object(absent: Path, quick: QuickCommand) -> None:
    done = quick("matrix", "--config", absent, "-o", "out", "--json")
    found = done.json["results"]
    assert [(r["target"], r["status"]) for r in found] == [("scripted", "absent")]
    assert quick.reports(done) == 1


def test_a_required_target_that_is_absent_is_exit_code_3(
    absent: Path, quick: QuickCommand, here: Path
) -> None:
    done = quick("matrix", "--config", absent, "-o", "out", QDEPLOY_REQUIRE="scripted")
    assert done.code == 3
    assert "error: scripted: required by QDEPLOY_REQUIRE, and absent" in done.stderr
    assert "qdeploy doctor scripted" in done.stderr
    assert (here / "out" / "matrix.json").is_file()


@pytest.mark.parametrize(
    ("required", "says"),
    [
        ("scriptet", ["unknown target 'scriptet'", "did you mean 'scripted'?"]),
        ("scripted, cuda", ["the matrix does not run 'cuda', which is required", "run it too"]),
    ],
)
def test_what_cannot_be_required_is_told_before_anything_runs(
    required: str, says: list[str], absent: Path, quick: QuickCommand, here: Path
) -> None:
    arguments = ("matrix", "--config", absent, "-o", "out")
    quick(*arguments, QDEPLOY_REQUIRE=required).fails(2, "error: QDEPLOY_REQUIRE: ", *says)
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "nowhere.toml", "-o", "out"], ["nowhere.toml", "cannot read the matrix"]),
        (["--config", "absent.toml", "-o", "out", "--target", "cuda"], ["has no target 'cuda'"]),
        (["-o", "out", "--target", "intel-cup"], ["unknown target", "did you mean 'intel-cpu'?"]),
        (["--github", "--target", "intel-cup"], ["unknown target", "did you mean 'intel-cpu'?"]),
        (["--config", "absent.toml", "-o", "absent.toml/x"], ["cannot be written"]),
        (["--config", "absent.toml", "-o", "."], ["the folder is not empty", "give a new -o DIR"]),
    ],
)
def test_what_is_refused(
    arguments: list[str], says: list[str], absent: Path, quick: QuickCommand
) -> None:
    quick("matrix", *arguments).fails(2, "error: ", *says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('bench = ["--quick"]', ["arguments.bench: No such option"]),
        ('bench = ["--runs", "0"]', ["arguments.bench: ", "--runs"]),
        ('eval = ["--backend", "openvino"]', ["arguments.eval: --backend cannot be given here"]),
        ('doctor = ["-o", "x.json"]', ["arguments.doctor: ", "as the matrix sets it"]),
    ],
)
def test_arguments_that_a_step_cannot_take_are_told_before_anything_runs(
    arguments: str, says: list[str], absent: Path, quick: QuickCommand, here: Path
) -> None:
    absent.write_text(f"{ABSENT}[arguments]\n{arguments}\n", encoding="utf-8")
    quick("matrix", "--config", absent, "-o", "out").fails(2, "absent.toml: ", *says)
    assert not (here / "out").exists()


@pytest.mark.parametrize("more", [("--config", "absent.toml"), ("-o", "out")])
def test_jobs_are_of_the_registry_and_take_no_file(
    more: tuple[str, str], absent: Path, quick: QuickCommand
) -> None:
    quick("matrix", "--github", *more).fails(2, "--github takes no --config and no -o DIR")


def test_a_run_needs_a_place_for_its_results(quick: QuickCommand) -> None:
    quick("matrix").fails(2, "give -o DIR, or --dry-run")
