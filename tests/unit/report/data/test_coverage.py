"""The table "What runs where": how results are grouped into rows."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.report.data.merged import merge_results
from qdeploy.report.data.model import Page, build_page
from qdeploy.report.data.table import Badge
from qdeploy.report.html import render_html
from qdeploy.results import Result, Results
from tests.support import shown
from tests.support.shown import SERVER, artifact, bench, environment, evaluation, file

TWIN = SERVER.model_copy(update={"cpu": "Made-up 5000"})
"""Another machine of the same name."""
BUNDLE = {"kind": "bundle", "name": "qwen3-made-up intel-cpu-int8", "digest": "77" * 32}


def page(*files: Results) -> Page:
    return build_page(merge_results(files))


def rows(*files: Results) -> list[dict[str, object]]:
    """Rows of the table by the titles of their columns."""
    found = page(*files).coverage
    titles = [column.title for column in found.columns]
    return [dict(zip(titles, row, strict=True)) for row in found.rows]


def test_one_text_that_fails_the_gate_fails_it() -> None:
    good = evaluation(0.00005, text={"name": "tasks", "tokens": 9})
    bad = evaluation(0.3, text={"name": "prose", "tokens": 9}, failures=("kl_mean 0.3 > 0.05",))
    for order in ((good, bad), (bad, good)):
        [row] = rows(file(*order))
        assert row["gate"] == Badge("failed")
        assert row["worst KL from float"] == 0.3


def test_kl_against_another_bundle_is_not_kl_from_float() -> None:
    [row] = rows(file(bench(), evaluation(0.3, reference=BUNDLE), evaluation(0.02)))
    assert row["worst KL from float"] == 0.02
    [alone] = rows(file(bench(), evaluation(0.3, reference=BUNDLE)))
    assert "worst KL from float" not in alone
    assert "float" not in render_html(page(file(evaluation(0.3, reference=BUNDLE))))


def test_a_calibrated_bundle_has_a_row_of_its_own() -> None:
    found = rows(file(bench(), evaluation(0.03), evaluation(0.02, of=artifact(calibrated=True))))
    assert [(row["profile"], row["worst KL from float"]) for row in found] == [
        ("intel-cpu-int4", 0.03), ("intel-cpu-int4 (calibrated)", 0.02),
    ]  # fmt: skip


def test_a_gate_against_another_bundle_counts_too() -> None:
    far = evaluation(0.3, reference=BUNDLE, failures=("kl_mean 0.3 > 0.05",))
    [row] = rows(file(evaluation(0.02), far))
    assert row["gate"] == Badge("failed")


def test_two_checkpoints_of_one_name_are_two_rows() -> None:
    found: list[Result] = [
        bench(50, of=artifact(checkpoint_digest="ab" * 32)),
        evaluation(0.3, of=artifact(checkpoint_digest="12" * 32)),
        shown.diagnosis(),
    ]
    one, other = rows(file(*found))
    assert (one["model"], one["decode"]) == ("qwen3-made-up (abababab)", 50)
    assert (other["model"], other["decode"]) == ("qwen3-made-up (12121212)", None)
    assert one["status"] == other["status"] == Badge("ok")
    [row] = rows(file(found[0]))
    assert row["model"] == "qwen3-made-up"


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "cpu": ({"cpu": "Made-up 5000", "cores": 8}, "server (Made-up 9000 (32 cores))",
            "server (Made-up 5000)"),
    "memory": ({"memory_bytes": 64 * 10**9}, "server (256 GB)", "server (64 GB)"),
    "power": ({"power": None}, "server (on mains)", "server"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_machines_of_one_name_have_distinct_names_in_all_tables(case: str) -> None:
    changes, first, second = CASES[case]
    twin = SERVER.model_copy(update=changes)
    each: list[Result] = [bench(), evaluation(), shown.diagnosis()]
    files = file(*each), file(*each, machine=twin)
    assert [row["machine"] for row in rows(*files)] == [first, second]
    found = page(*files)
    assert found.facts[0] == (2, "machines")
    for table in (found.speeds[0].speed, found.qualities[0].table, found.diagnoses):
        place = [column.title for column in table.columns].index("machine")
        assert [row[place] for row in table.rows] == [first, second]


def test_equal_devices_of_two_machines_are_separate_in_a_chart() -> None:
    gpu = environment("intel-gpu", "Arc B580")
    found = page(file(bench(50, on=gpu)), file(bench(20, on=gpu), machine=TWIN))
    assert render_html(found).count("<tspan") == 3 * 2


def test_another_bandwidth_is_the_same_machine() -> None:
    again = SERVER.model_copy(update={"bandwidth_bytes_per_s": 1e9})
    [row] = rows(file(bench()), file(evaluation(), machine=again))
    assert row["machine"] == "server"
    assert row["gate"] == Badge("ok")


def test_a_diagnosis_of_one_device_does_not_apply_to_another() -> None:
    found: list[Result] = [bench(on=environment(device=name)) for name in ("first", "second")]
    broken = shown.diagnosis(status="failed", failure="wrong", message="no", device="second")
    first, second = rows(file(*found, broken))
    assert (first["status"], second["status"]) == (None, Badge("failed"))
