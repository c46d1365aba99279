"""Histograms of inter-token latency, one per configuration, over all runs.

A mean hides stalls; the distribution shows them. All histograms share one logarithmic time axis.
Each is scaled to the same height, because the shapes are to be compared and not the counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from qdeploy.report.charts import svg
from qdeploy.report.data.rows import Row, grid_point, headline, subline
from qdeploy.report.data.table import number
from qdeploy.results import Bench

BINS = 60
LEFT, RIGHT = 8, svg.WIDTH - 12
HEADING, HEIGHT, BLOCK, AXIS = 34, 36, 34, 34
LEAST_OF_MEDIAN = 0.01
"""Latencies below this fraction of the median are drawn at it; it is 0 for tokens in one batch."""


def latency_chart(rows: Iterable[Row[Bench]]) -> Markup:
    """Draw a histogram for the longest grid point of each configuration."""
    shown = [(row, _clipped(row.result)) for row in _longest(rows) if _latencies(row.result)]
    if not shown:
        return Markup()
    scale = svg.over_decades([ms for _, latencies in shown for ms in latencies], LEFT, RIGHT)
    bottom = len(shown) * (HEADING + HEIGHT + BLOCK)
    parts = [svg.line(scale(v), HEADING, scale(v), bottom - 8, "grid") for v in scale.ticks]
    for place, (row, latencies) in enumerate(shown):
        parts += _block(row, latencies, scale, place * (HEADING + HEIGHT + BLOCK))
    parts += [svg.text(scale(v), bottom + 6, svg.tick(v), "detail", "middle") for v in scale.ticks]
    middle = (LEFT + RIGHT) / 2
    parts.append(svg.text(middle, bottom + 22, "inter-token latency, ms", "detail", "middle"))
    return svg.picture(bottom + AXIS, *parts, label="Distribution of inter-token latency, ms")


def _block(row: Row[Bench], latencies: Sequence[float], scale: svg.Scale, y: float) -> list[Markup]:
    result, spread = row.result, row.result.inter_token_latency_ms
    evidence = str(result.environment.evidence)
    detail = f"{grid_point(result)} · {subline(row)}"
    foot = y + HEADING + HEIGHT
    parts = [
        svg.heading(y, headline(row), evidence, detail),
        svg.tag("path", d=_outline(latencies, scale, foot), class_=f"bar {evidence}"),
        svg.line(LEFT, foot, RIGHT, foot, "axis"),
    ]
    for value in (spread.p50, spread.p95, spread.p99):
        if scale.low <= value <= scale.high:
            at = scale(value)
            parts.append(svg.line(at, foot - HEIGHT, at, foot + 3, "mark"))
    figures = " · ".join(
        f"{name} {number(value)}"
        for name, value in (("p50", spread.p50), ("p95", spread.p95), ("p99", spread.p99))
    )
    return [*parts, svg.text(RIGHT, foot + 14, f"{figures} ms", "value", "end")]


def _outline(latencies: Sequence[float], scale: svg.Scale, foot: float) -> str:
    """The histogram's steps as a path; the fullest bin has the full height."""
    width = (RIGHT - LEFT) / BINS
    edges = [LEFT + width * i for i in range(1, BINS)]
    counts = [0] * BINS
    for latency in latencies:
        counts[bisect_right(edges, scale(latency))] += 1
    steps = [f"M{LEFT} {foot:g}"]
    for i, count in enumerate(counts):
        steps.append(f"V{foot - HEIGHT * count / max(counts):.1f}H{LEFT + width * (i + 1):.1f}")
    return "".join([*steps, f"V{foot:g}Z"])


def _longest(rows: Iterable[Row[Bench]]) -> list[Row[Bench]]:
    longest: dict[tuple[str, str, str], Row[Bench]] = {}
    for row in rows:
        key = (headline(row), subline(row), str(row.result.environment.evidence))
        if key not in longest or _length(row.result) > _length(longest[key].result):
            longest[key] = row
    return sorted(longest.values(), key=lambda row: row.result.inter_token_latency_ms.p50)


def _length(result: Bench) -> int:
    return result.prompt_tokens + result.new_tokens


def _latencies(result: Bench) -> list[float]:
    return [ms for sample in result.samples for ms in sample.inter_token_latencies_ms]


def _clipped(result: Bench) -> list[float]:
    latencies = _latencies(result)
    least = max(LEAST_OF_MEDIAN * sorted(latencies)[len(latencies) // 2], svg.LEAST)
    return [max(latency, least) for latency in latencies]
