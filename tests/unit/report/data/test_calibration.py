"""Data-free against calibrated: which results are compared, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.report.data.merged import merge_results
from qdeploy.report.data.model import build_page
from qdeploy.report.html import render_html
from qdeploy.report.markdown import render_markdown
from qdeploy.results import Eval, Result
from tests.support import shown
from tests.support.shown import artifact, divergence, environment, evaluation, file

HARD = (0.01, 0.10, 0.03, 0.05, 0.02, 0.08, 0.015, 0.09)
TITLE = "Data-free against calibrated"


def of(factor: float = 1.0, *, calibrated: bool = False, **changes: Any) -> Eval:
    kl = divergence(*(factor * mean for mean in HARD))
    return evaluation(kl, of=artifact(calibrated=calibrated), **changes)


def rows(*found: Result) -> list[dict[str, object]]:
    table = build_page(merge_results([file(*found)])).calibration
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, row, strict=True)) for row in table.rows]


def text(name: str) -> dict[str, Any]:
    return {"name": name, "sha256": name * 8, "tokens": 2040}


def test_each_text_has_a_row_with_intervals_and_a_verdict() -> None:
    found = rows(
        *(of(text=text(name)) for name in ("prose", "code")),
        of(0.8, calibrated=True, text=text("prose")),
        of(1.3, calibrated=True, text=text("code")),
    )
    assert [(r["text"], r["change"], r["verdict"]) for r in found] == [
        ("prose", "-20.0%", "better"), ("code", "+30.0%", "worse"),
    ]  # fmt: skip
    for name in ("data-free KL", "calibrated KL", "difference"):
        assert " to " in str(found[0][name])


def test_without_intervals_there_is_no_verdict() -> None:
    [found] = rows(evaluation(0.03), evaluation(0.01, of=artifact(calibrated=True)))
    assert found["verdict"] == "no interval"
    assert found["difference"] == "-0.0200"


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": environment(device="another")},
        {"environment": environment("intel-gpu")},
        {"text": text("other")},
        {"reference": {"kind": "bundle", "name": "qwen3-made-up", "digest": "77" * 32}},
    ],
    ids=["device", "target", "text", "reference"],
)
def test_only_twins_are_compared(changes: dict[str, Any]) -> None:
    assert rows(of(), of(0.8, calibrated=True, **changes)) == []


def test_another_profile_is_no_twin() -> None:
    eight = evaluation(divergence(*HARD), of=artifact("intel-cpu-int8"))
    assert rows(eight, of(0.8, calibrated=True)) == []


def test_the_section_is_there_only_with_calibrated_bundles() -> None:
    for found, there in (((of(),), False), ((of(), of(0.8, calibrated=True)), True)):
        page = build_page(merge_results([file(*found)]))
        for text_of_page in (render_html(page), render_markdown(page)):
            assert (TITLE in text_of_page) == there
            assert ("int4 asym g128 (calibrated)" in text_of_page) == there


def test_speeds_of_both_are_told_apart() -> None:
    page = build_page(
        merge_results([file(shown.bench(50), shown.bench(51, of=artifact(calibrated=True)))])
    )
    assert "intel-cpu-int4 (calibrated) · openvino" in render_html(page)
