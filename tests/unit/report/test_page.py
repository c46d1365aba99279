"""The content of a report, and the escaping of everything that comes from results files."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.errors import OutputError
from qdeploy.report import write_report
from qdeploy.report.data.merged import merge_results, read_result_files, report_schema
from qdeploy.report.data.model import Page, build_page
from qdeploy.report.data.table import Badge
from qdeploy.report.html import SPEED_CHARTS, render_html
from qdeploy.report.markdown import render_markdown
from qdeploy.results import (
    Bench,
    Divergence,
    Percentiles,
    Result,
    Sample,
    Spread,
    results_schema,
)
from qdeploy.targets import Evidence
from tests.support import shown
from tests.support.shown import artifact, bench, environment, evaluation, file

ROOT = Path(__file__).parents[3]
HOSTILE = "<script>window.pwned=1</script>\"'><img src=x onerror=pwned=1> | `a` [b](c) **d**"
VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """Parses a page into elements, attributes and text; fails if elements are unbalanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        wanted = attributes.items()
        return sum(t == tag and wanted <= a.items() for t, a in self.elements)


def page_of(*found: Result) -> Page:
    return build_page(merge_results([file(*found)]))


def read(*found: Result) -> Reader:
    return Reader(render_html(page_of(*found)))


def captions(reader: Reader) -> list[str]:
    titles = [title for title, _, _ in SPEED_CHARTS] + ["Quality against size"]
    return [title for title in titles if title in reader.text]


def test_every_kind_of_result_is_shown_with_its_machine() -> None:
    page = build_page(merge_results(shown.two_machines()))
    for text in (render_html(page), render_markdown(page)):
        for words in ("Made-up 9000", "qwen3-other", "laptop", "openvino-genai 2026.4.1", "RAPL",
                      "decode 1.02 (0.98 to 1.05), prefill 0.99", "the device vanished",
                      "no NVIDIA GPU was found", "the worker was killed by SIGSEGV"):  # fmt: skip
            assert words in text
    assert captions(Reader(render_html(page))) == [
        "Decode speed by device", "Prefill speed by device", "Inter-token latency",
        "Decode speed, predicted against measured", "Roofline", "Quality against size",
    ]  # fmt: skip


def test_without_measurements_there_is_no_column_and_no_chart() -> None:
    reader = read(bench())
    assert captions(reader) == [title for title, _, _ in SPEED_CHARTS[:3]]
    for words in ("energy from", "ratio to peer", "Quality", "Diagnoses", "predicted"):
        assert words not in reader.text


@pytest.mark.parametrize(
    "other",
    [bench(99, protocol_hash="ee" * 32), bench(99, of=artifact(checkpoint_digest="ee" * 32))],
    ids=["protocol", "model"],
)
def test_results_that_may_not_be_compared_are_in_separate_charts(other: Bench) -> None:
    one, two = page_of(bench(50), other).speeds
    assert [len(one.group.rows), len(two.group.rows)] == [1, 1]
    assert read(bench(50), other).count("svg", role="img") == 2 * 3
    assert read(bench(50), bench(99)).count("svg", role="img") == 3


def test_loads_of_one_protocol_are_one_curve_for_each_configuration() -> None:
    found = (shown.load(1), shown.load(8), shown.load(32), shown.load(8, of=artifact("cpu-int8")))
    reader = read(*found, shown.load(protocol_hash="aa" * 32))
    assert reader.count("svg", role="img") == 2 * 2
    assert reader.count("line", **{"class": "curve"}) == 2 * 2  # three points of one of them
    for words in ("Under load: qwen3-made-up", "served at once", "128+64 at 32"):
        assert words in reader.text


def test_requests_that_failed_are_shown_even_where_none_was_answered() -> None:
    nothing = shown.load(
        samples=(), failures={"the queue is full": 8}, requests_per_s=0, output_tokens_per_s=0,
        ttft_ms=None, tpot_ms=None, inter_token_latency_ms=None, e2e_ms=None,
    )  # fmt: skip
    page = page_of(nothing)
    assert "8 x the queue is full" in Reader(render_html(page)).text
    assert "8 x the queue is full" in render_markdown(page)
    assert read(nothing).count("svg", role="img") == 0


@pytest.mark.parametrize("changes", [{"text": {"name": "other", "tokens": 9}},
                                     {"reference": {"name": "other"}}], ids=str)  # fmt: skip
def test_quality_compares_within_one_reference_and_text(changes: dict[str, Any]) -> None:
    assert len(page_of(evaluation(), evaluation(0.3, **changes)).qualities) == 2


def test_every_row_and_every_chart_names_its_evidence() -> None:
    simulated = environment("intel-npu", "simulated NPU", evidence=Evidence.SIMULATED)
    page = page_of(bench(on=simulated), evaluation(environment=simulated), shown.diagnosis())
    for table in (page.coverage, page.speeds[0].speed, page.speeds[0].costs,
                  page.qualities[0].table, page.diagnoses):  # fmt: skip
        assert "evidence" in [column.title for column in table.columns]
    reader = Reader(render_html(page))
    marked = [a for t, a in reader.elements if t == "tspan"]
    assert [a["class"] for a in marked] == ["word simulated"] * 4
    assert reader.count("rect", **{"class": "bar simulated"}) == 2
    assert reader.count("rect", **{"class": "bar device"}) == 0


def test_an_absent_target_is_listed_unless_another_machine_has_it() -> None:
    gone = shown.absent("intel-gpu", "no such device", "install the driver")
    there = bench(on=environment("intel-gpu", "Arc"))
    alone, both = page_of(gone).coverage, page_of(gone, there).coverage
    assert [row[2] for row in alone.rows] == ["absent: no such device"]
    assert [row[2] for row in both.rows] == ["Arc"]


def test_the_reason_of_a_profile_that_was_tried_is_preferred() -> None:
    tried = shown.absent("intel-gpu", "no such device", "install the driver")
    tried = tried.model_copy(update={"profile": "intel-gpu-int4"})
    untried = tried.model_copy(update={"message": "no profile ships for it", "profile": None})
    for order in ((tried, untried), (untried, tried)):
        assert [row[2] for row in page_of(*order).coverage.rows] == ["absent: no such device"]


def test_a_machine_is_listed_once_with_its_median_bandwidth() -> None:
    speeds = [8e9, 12e9, 9e9, None]
    files = [
        file(bench(seed=i), machine=shown.SERVER.model_copy(update={"bandwidth_bytes_per_s": s}))
        for i, s in enumerate(speeds)
    ]
    [row] = build_page(merge_results(files)).machines.rows
    assert (row[0], row[4]) == ("server", 9.0)


def test_a_diagnosis_of_a_whole_target_applies_to_each_of_its_rows() -> None:
    broken = shown.diagnosis(status="failed", model=None, failure="wrong", message="answers")
    found = page_of(bench(), bench(of=artifact("intel-cpu-int8")), broken).coverage
    place = [str(c) for c in found.columns].index("status")
    assert [row[place] for row in found.rows] == [Badge("failed")] * 2


def test_a_failed_step_is_shown_in_the_row_of_its_configuration() -> None:
    failed = shown.diagnosis(
        status="failed", failure="hang", profile="intel-cpu-int4", evidence=Evidence.NONE,
        message="bench: it took more than 9 s",
    )  # fmt: skip
    [row] = page_of(evaluation(), failed).coverage.rows
    assert Badge("failed") in row
    assert Badge("device") in row


def test_nothing_in_a_result_becomes_markup() -> None:
    named = artifact(HOSTILE, model=HOSTILE, precision=HOSTILE)
    on = environment(HOSTILE, HOSTILE, driver=HOSTILE, versions={HOSTILE: HOSTILE})
    found: list[Result] = [
        bench(of=named, on=on, protocol={HOSTILE: HOSTILE}, protocol_hash=HOSTILE,
              peer=HOSTILE, predicted={"decode_tokens_per_s": 9.0}, energy_source=HOSTILE,
              memory_bandwidth_utilization=0.5),
        evaluation(of=named, environment=on, reference={HOSTILE: HOSTILE}, text={HOSTILE: HOSTILE},
                   failures=(HOSTILE,)),
        shown.load(of=named, on=on, protocol={HOSTILE: HOSTILE}, failures={HOSTILE: 1}),
        shown.diagnosis(HOSTILE, "failed", message=HOSTILE, fix=HOSTILE),
    ]  # fmt: skip
    machine = shown.SERVER.model_copy(update={"name": HOSTILE, "cpu": HOSTILE})
    page = build_page(merge_results([file(*found, machine=machine)]))
    reader = Reader(render_html(page))
    assert reader.count("script") == reader.count("img") == 0
    assert not [a for _, attributes in reader.elements for a in attributes if a.startswith("on")]
    assert "window.pwned=1" in reader.text
    for line in render_markdown(page).splitlines():
        assert "<script" not in line.replace("\\<", "")
        assert "<img" not in line.replace("\\<", "")


def test_markup_in_a_name_is_escaped_in_markdown() -> None:
    text = render_markdown(page_of(bench(of=artifact(model="a|b\nc"))))
    assert "a\\|b c" in text


def test_the_page_has_no_external_resources() -> None:
    page = render_html(build_page(merge_results(shown.two_machines())))
    reader = Reader(page)
    assert "://" not in page
    assert reader.count("script") == reader.count("iframe") == reader.count("img") == 0
    assert [a["href"] for t, a in reader.elements if t == "link"] == ["data:,"]
    policy = next(a["content"] for _, a in reader.elements if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


ANY = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
"""Measured values are above zero, of any magnitude."""


@given(st.lists(ANY, min_size=8, max_size=8), st.lists(ANY, min_size=1, max_size=4))
@settings(max_examples=25)
def test_the_page_renders_any_numbers_in_a_file(n: list[float], gaps: list[float]) -> None:
    spread = Spread(count=1, p50=n[0], p95=n[1], p99=n[2])
    sample = Sample(process=0, ttft_ms=n[3], inter_token_latencies_ms=tuple(gaps))
    odd = bench(
        samples=(sample,), ttft_ms=spread, tpot_ms=spread, inter_token_latency_ms=spread,
        prefill_tokens_per_s=n[4], decode_tokens_per_s=n[5], memory_bandwidth_utilization=n[6],
        predicted={"decode_tokens_per_s": n[7]}, energy_joules=n[0],
    )  # fmt: skip
    far = Divergence(mean=n[1], p99=n[2], max=n[3], interval=(min(n[4:6]), max(n[4:6])))
    distant = evaluation().model_copy(update={"kl": far, "perplexity": n[4]})
    times = Percentiles(count=1, p50=n[0], p90=n[1], p99=n[2])
    loaded = shown.load(output_tokens_per_s=n[3], tpot_ms=times, ttft_ms=times, rate=n[4])
    twin = evaluation(of=artifact(calibrated=True), kl=far)
    page = page_of(odd, bench(), evaluation(), distant, twin, loaded, shown.load())
    Reader(render_html(page))
    render_markdown(page)


def test_bars_start_at_zero_and_are_proportional_to_their_values() -> None:
    page = read(bench(80), bench(20, of=artifact("intel-cpu-int8")))
    bars = [a for t, a in page.elements if t == "rect" and a.get("class") == "bar device"]
    assert len({bar["x"] for bar in bars}) == 1
    fast, slow = (float(bar["width"] or 0) for bar in bars[:2])
    assert fast == pytest.approx(4 * slow, rel=0.01)


def test_the_merged_file_keeps_all_results_and_is_valid_input(tmp_path: Path) -> None:
    files = shown.two_machines()
    write_report(files, tmp_path / "one")
    again = read_result_files([tmp_path / "one"])
    assert again == files
    write_report([*again, *files], tmp_path / "two")
    assert read_result_files([tmp_path / "two" / "report.json"]) == files


def test_a_report_is_replaced_only_on_request(tmp_path: Path) -> None:
    write_report([file(bench())], tmp_path / "out")
    with pytest.raises(OutputError, match="output exists"):
        write_report([file(bench())], tmp_path / "out")
    write_report([file(bench(), bench())], tmp_path / "out", force=True)
    assert len(read_result_files([tmp_path / "out"])[0].results) == 2


@pytest.mark.parametrize(
    ("name", "schema"), [("results", results_schema), ("report", report_schema)]
)
def test_the_published_schema_is_current(name: str, schema: object) -> None:
    assert callable(schema)
    path = ROOT / "docs" / f"{name}.schema.json"
    fix = f"python -m tools.schemas rewrites {path.name}"
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(schema()), fix
