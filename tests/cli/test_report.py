"""`qdeploy report`: files in, a directory out, and each refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdeploy.results import write_results
from tests.support import shown
from tests.support.command import Command, QuickCommand


@pytest.fixture
def measurements(here: Path) -> Path:
    """A directory with the results of two machines."""
    for i, file in enumerate(shown.two_machines()):
        write_results(file, here / "results" / f"{i}.json")
    return here / "results"


def test_a_folder_of_results_becomes_a_folder_of_a_report(
    measurements: Path, qdeploy: Command, here: Path
) -> None:
    done = qdeploy("report", "results", "-o", "out")
    assert (done.code, done.stdout) == (0, f"{Path('out/index.html')}\n")
    assert done.stderr == "20 results of 2 machines\n"
    assert {f.name for f in (here / "out").iterdir()} == {"index.html", "report.md", "report.json"}


def test_json_is_one_object(measurements: Path, quick: QuickCommand, here: Path) -> None:
    done = quick("report", measurements / "0.json", "-o", "out", "--json")
    assert done.json["results"] == 16
    assert done.json["machines"] == 1
    assert all((here / done.json[kind]).is_file() for kind in ("html", "markdown", "json"))
    again = quick("report", "out/report.json", measurements, "-o", "both", "--json")
    assert (again.json["results"], again.json["machines"]) == (20, 2)


def newer() -> str:
    return json.dumps(shown.file().model_dump(mode="json") | {"schema_version": 99})


def newer_report() -> str:
    return json.dumps({"kind": "qdeploy-report", "schema_version": 99, "files": []})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", ["bad.json"]),
        ("[]", ["bad.json"]),
        ("{}", ["bad.json", "not a file of results", "qdeploy bench"]),
        ('{"model_type": "qwen3"}', ["bad.json", "not a file of results"]),
        (newer(), ["bad.json", "results of schema version 99", "pip install --upgrade qdeploy"]),
        (newer_report(), ["a report of schema version 99", "pip install --upgrade qdeploy"]),
        ('{"kind": "qdeploy-report"}', ["bad.json", "not a report: created"]),
        (shown.file().model_dump_json(), ["there is no result in these files"]),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_file_that_is_not_of_results(
    text: str, says: list[str], quick: QuickCommand, here: Path
) -> None:
    (here / "bad.json").write_text(text, encoding="utf-8")
    quick("report", "bad.json", "-o", "out").fails(2, "error: ", *says)
    assert not (here / "out").exists()


def test_a_missing_file(quick: QuickCommand) -> None:
    quick("report", "nowhere.json", "-o", "out").fails(2, "nowhere.json", "missing")


def test_an_empty_folder(quick: QuickCommand, here: Path) -> None:
    (here / "empty").mkdir()
    quick("report", "empty", "-o", "out").fails(2, "empty", "no file of results", "qdeploy bench")


def test_an_output_that_someone_else_wrote(
    measurements: Path, quick: QuickCommand, here: Path
) -> None:
    (here / "out").mkdir()
    (here / "out" / "thesis.txt").touch()
    quick("report", "results", "-o", "out", "--force").fails(2, "out", "did not write it")
    assert (here / "out" / "thesis.txt").exists()


def test_an_output_that_cannot_be_written(measurements: Path, quick: QuickCommand) -> None:
    quick("report", "results", "-o", "results/0.json/out").fails(2, "cannot be written")


def test_an_output_that_exists(measurements: Path, quick: QuickCommand) -> None:
    assert quick("report", "results", "-o", "out").code == 0
    quick("report", "results", "-o", "out").fails(2, "output exists", "--force replaces it")
    assert quick("report", "results", "-o", "out", "--force").code == 0


def test_force_replaces_the_three_files_and_nothing_else(
    measurements: Path, quick: QuickCommand, here: Path
) -> None:
    assert quick("report", measurements / "0.json", "-o", "out").code == 0
    kept = {"CNAME": "example.org", ".git/HEAD": "ref", "0.json": "mine"}
    for name, text in kept.items():
        (here / "out" / name).parent.mkdir(exist_ok=True)
        (here / "out" / name).write_text(text, encoding="utf-8")
    (here / "out" / "index.html").unlink()
    assert quick("report", "results", "-o", "out", "--force").code == 0
    for name, text in kept.items():
        assert (here / "out" / name).read_text(encoding="utf-8") == text
    assert "laptop" in (here / "out" / "index.html").read_text(encoding="utf-8")
    assert "laptop" in (here / "out" / "report.md").read_text(encoding="utf-8")
    again = quick("report", "out/report.json", "-o", "again", "--json").json
    assert (again["results"], again["machines"]) == (20, 2)


def test_a_file_of_a_report_that_cannot_be_replaced(
    measurements: Path, quick: QuickCommand, here: Path
) -> None:
    assert quick("report", "results", "-o", "out").code == 0
    (here / "out" / "report.md").unlink()
    (here / "out" / "report.md").mkdir()
    quick("report", "results", "-o", "out", "--force").fails(2, "report.md", "cannot be written")
    assert (here / "out" / "report.json").is_file()


def test_machines_of_one_name_are_counted_apart(quick: QuickCommand, here: Path) -> None:
    twin = shown.SERVER.model_copy(update={"cpu": "another"})
    for i, machine in enumerate((shown.SERVER, twin)):
        write_results(shown.file(shown.bench(), machine=machine), here / "results" / f"{i}.json")
    done = quick("report", "results", "-o", "out")
    assert done.stderr == "2 results of 2 machines\n"
