"""How long the next token takes: every gap of every run, as a histogram for each configuration.

A mean hides a stall. The axis is logarithmic and the same for all; each histogram has its own
height, so that shapes compare and amounts do not pretend to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from qdeploy.report.charts import svg
from qdeploy.report.data.rows import Row, headline, point, subline
from qdeploy.report.data.table import number
from qdeploy.results import Bench

BINS = 60
LEFT, RIGHT = 8, svg.WIDTH - 12
HEADING, HEIGHT, BLOCK, AXIS = 34, 36, 34, 34
QUICKEST = 0.01
"""A gap below this part of the median is drawn there: tokens handed over together have none."""


def draw(rows: Iterable[Row[Bench]]) -> Markup:
    """Draw a histogram for each configuration, of its longest point of the grid."""
    shown = [(row, _clipped(row.result)) for row in _longest(rows) if _gaps(row.result)]
    if not shown:
        return Markup()
    scale = svg.over_decades([g for _, gaps in shown for g in gaps], LEFT, RIGHT)
    bottom = len(shown) * (HEADING + HEIGHT + BLOCK)
    parts = [svg.line(scale(v), HEADING, scale(v), bottom - 8, "grid") for v in scale.ticks]
    for place, (row, gaps) in enumerate(shown):
        parts += _block(row, gaps, scale, place * (HEADING + HEIGHT + BLOCK))
    parts += [svg.text(scale(v), bottom + 6, svg.tick(v), "detail", "middle") for v in scale.ticks]
    middle = (LEFT + RIGHT) / 2
    parts.append(svg.text(middle, bottom + 22, "ms between tokens", "detail", "middle"))
    return svg.picture(bottom + AXIS, *parts, label="Distribution of the time between tokens, ms")


def _block(row: Row[Bench], gaps: Sequence[float], scale: svg.Scale, y: float) -> list[Markup]:
    result, spread = row.result, row.result.inter_token_latency_ms
    evidence = str(result.environment.evidence)
    detail = f"{point(result)} · {subline(row)}"
    foot = y + HEADING + HEIGHT
    parts = [
        svg.heading(y, headline(row), evidence, detail),
        svg.tag("path", d=_outline(gaps, scale, foot), class_=f"bar {evidence}"),
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


def _outline(gaps: Sequence[float], scale: svg.Scale, foot: float) -> str:
    """The histogram's steps as a path, the fullest bin of full height."""
    width = (RIGHT - LEFT) / BINS
    edges = [LEFT + width * i for i in range(1, BINS)]
    counts = [0] * BINS
    for gap in gaps:
        counts[bisect_right(edges, scale(gap))] += 1
    steps = [f"M{LEFT} {foot:g}"]
    for i, count in enumerate(counts):
        steps.append(f"V{foot - HEIGHT * count / max(counts):.1f}H{LEFT + width * (i + 1):.1f}")
    return "".join([*steps, f"V{foot:g}Z"])


def _longest(rows: Iterable[Row[Bench]]) -> list[Row[Bench]]:
    found: dict[tuple[str, str, str], Row[Bench]] = {}
    for row in rows:
        key = (headline(row), subline(row), str(row.result.environment.evidence))
        if key not in found or _length(row.result) > _length(found[key].result):
            found[key] = row
    return sorted(found.values(), key=lambda row: row.result.inter_token_latency_ms.p50)


def _length(result: Bench) -> int:
    return result.prompt_tokens + result.new_tokens


def _gaps(result: Bench) -> list[float]:
    return [gap for sample in result.samples for gap in sample.inter_token_latencies_ms]


def _clipped(result: Bench) -> list[float]:
    gaps = _gaps(result)
    least = max(QUICKEST * sorted(gaps)[len(gaps) // 2], svg.LEAST)
    return [max(gap, least) for gap in gaps]
