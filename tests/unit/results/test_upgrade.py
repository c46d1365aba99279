"""Results files of schema version 1, written by qdeploy before the schema changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import InputError
from qdeploy.report import write_report
from qdeploy.report.data.merged import read_result_files
from qdeploy.results import Bench, Diagnosis, Eval, collect_results, parse_results, read_results
from tests.support import shown

SCHEMA_1 = Path(__file__).parent / "schema_1"
MEASURED, REPORT = SCHEMA_1 / "measured.json", SCHEMA_1 / "report.json"
SHIPPED = Path(__file__).parents[3] / "docs" / "results" / "xeon-2-cores.json"


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_every_value_of_an_old_file_is_read_under_its_new_name() -> None:
    old = content(MEASURED)["results"]
    bench, evaluation, *diagnoses = read_results(MEASURED).results
    assert isinstance(bench, Bench)
    assert isinstance(evaluation, Eval)
    assert all(isinstance(diagnosis, Diagnosis) for diagnosis in diagnoses)
    for row, before in ((bench, old[0]), (evaluation, old[1])):
        assert row.artifact.checkpoint_digest == before["subject"]["digest"]
        assert row.artifact.bundle_digest == before["subject"]["bundle_digest"]
        assert row.environment.model_dump(mode="json") == before["where"]
    for samples, before in ((bench.samples, "samples"), (bench.peer_samples, "peer_samples")):
        assert len(samples) == 2
        for sample, written in zip(samples, old[0][before], strict=True):
            assert list(sample.inter_token_latencies_ms) == written["gaps_ms"]
    assert bench.inter_token_latency_ms.model_dump() == old[0]["gap_ms"]
    assert bench.memory_bandwidth_utilization == old[0]["bandwidth_share"] > 0
    assert bench.conditions.cpu_steal == old[0]["conditions"]["steal"]
    assert [p.cpu_steal for p in bench.processes] == [p["steal"] for p in old[0]["processes"]]


def test_what_only_looks_like_an_old_key_is_left_alone() -> None:
    old = content(MEASURED)
    settings = {"where": "here", "steal": 1, "gaps_ms": "no"}
    old["results"][0]["where"]["properties"] = settings
    old["results"][0]["protocol"] |= settings
    bench = parse_results(old, MEASURED).results[0]
    assert isinstance(bench, Bench)
    assert bench.environment.properties == settings
    assert settings.items() <= bench.protocol.items()


def test_a_whole_file_of_schema_1_is_read() -> None:
    file = SCHEMA_1 / "xeon-2-cores.json"
    old = content(file)
    assert old["schema_version"] == 1
    found = read_results(file)
    assert found.schema_version == 4
    rows = [row.model_dump(mode="json", exclude_unset=True) for row in found.results]
    assert rows == old["results"]


def test_the_shipped_results_are_in_the_current_version() -> None:
    assert content(SHIPPED)["schema_version"] == 4
    assert read_results(SHIPPED).results


def test_a_report_is_made_of_old_files_and_old_reports(tmp_path: Path) -> None:
    [of_report] = read_result_files([REPORT])
    assert of_report == read_results(MEASURED)
    made = write_report(read_result_files([SCHEMA_1]), tmp_path / "report")
    assert len(made.files) == 2
    written = content(tmp_path / "report" / "report.json")
    assert {written["schema_version"], *(f["schema_version"] for f in written["files"])} == {4}


def test_a_file_of_version_3_has_no_intervals_and_no_calibration() -> None:
    old = read_results(MEASURED).model_dump(mode="json", exclude_unset=True)
    of_eval = old["results"][1]
    assert of_eval["kind"] == "eval"
    found = parse_results(old | {"schema_version": 3}, MEASURED).results[1]
    assert isinstance(found, Eval)
    assert found.kl.mean == of_eval["kl"]["mean"]
    assert (found.kl.interval, found.kl.blocks) == (None, ())
    assert not found.artifact.calibrated


def test_an_old_file_that_is_added_to_is_written_in_the_current_version(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    file.write_bytes(MEASURED.read_bytes())
    before = read_results(file)
    collect_results(file, before.machine).save(before.machine, [shown.bench()])
    assert content(file)["schema_version"] == 4
    assert read_results(file).results == (*before.results, shown.bench())


@pytest.mark.parametrize(
    "change",
    [
        {"results": None}, {"results": [1]}, {"results": [{"kind": "bench", "subject": 1}]},
        {"results": [{"kind": "bench", "samples": [None], "conditions": []}]},
        {"schema_version": [1]}, {"schema_version": 0}, {"where": "here"},
    ],
    ids=str,
)  # fmt: skip
def test_an_old_file_that_is_spoilt_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not a file of results"):
        parse_results(content(MEASURED) | change, MEASURED)


def test_a_current_file_with_an_old_key_is_refused() -> None:
    current = read_results(MEASURED).model_dump(mode="json")
    current["results"][0]["subject"] = current["results"][0].pop("artifact")
    with pytest.raises(InputError, match="artifact"):
        parse_results(current, MEASURED)
