"""Quality against size: marks of data-free and calibrated bundles, and their intervals."""

from __future__ import annotations

from xml.etree import ElementTree

from qdeploy.report.charts.scatter import BOTTOM, TOP, quality_chart
from qdeploy.report.data.rows import Row
from qdeploy.results import Divergence, Eval
from tests.support.shown import SERVER, artifact, divergence, evaluation

HARD = (0.01, 0.10, 0.03, 0.05, 0.02, 0.08, 0.015, 0.09)


def drawn(*results: Eval) -> list[ElementTree.Element]:
    rows = [Row(SERVER, "server", result) for result in results]
    return list(ElementTree.fromstring(str(quality_chart(rows))).iter())  # noqa: S314


def of_class(elements: list[ElementTree.Element], name: str) -> list[ElementTree.Element]:
    return [element for element in elements if element.get("class") == name]


def test_calibrated_bundles_have_another_mark() -> None:
    found = drawn(
        evaluation(0.03),
        evaluation(0.02, of=artifact(calibrated=True)),
        evaluation(0.001, of=artifact("intel-cpu-int8")),
    )
    assert [e.tag for e in of_class(found, "dot")] == ["circle", "circle"]
    assert [e.tag for e in of_class(found, "dot calibrated")] == ["path"]
    texts = [e.text or "" for e in found]
    assert any("int4 asym g128 (calibrated)" in text for text in texts)


def test_the_axes_are_bytes_and_a_logarithmic_kl() -> None:
    tenth, hundredth, thousandth = (
        of_class(drawn(*(evaluation(kl) for kl in (0.1, 0.01, 0.001))), "dot")[i] for i in range(3)
    )
    steps = [float(e.get("cy", "")) for e in (tenth, hundredth, thousandth)]
    assert abs((steps[1] - steps[0]) - (steps[2] - steps[1])) < 0.1
    four, eight = of_class(
        drawn(evaluation(0.1), evaluation(0.1, of=artifact(bundle_bytes=812_000_000))), "dot"
    )
    assert float(eight.get("cx", "")) > float(four.get("cx", ""))


def test_intervals_are_lines_through_their_points() -> None:
    found = drawn(
        evaluation(divergence(*HARD)),
        evaluation(divergence(*HARD[::-1]), of=artifact(calibrated=True)),
        evaluation(0.2),
    )
    [line] = of_class(found, "whisker")
    assert len(of_class(found, "whisker calibrated")) == 1
    point = of_class(found, "dot")[0]
    low, high = float(line.get("y1", "")), float(line.get("y2", ""))
    assert TOP <= high < float(point.get("cy", "")) < low <= BOTTOM
    assert line.get("x1") == line.get("x2") == point.get("cx")


def test_intervals_that_reach_zero_are_drawn_to_the_axis() -> None:
    exact = Divergence(mean=1e-12, p99=1e-12, max=1e-12, interval=(0, 2e-12))
    [line] = of_class(drawn(evaluation(exact), evaluation(0.1)), "whisker")
    assert TOP <= float(line.get("y2", "")) <= float(line.get("y1", "")) <= BOTTOM
