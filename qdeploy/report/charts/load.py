"""Throughput against latency: one curve for each configuration, one point for each load."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from markupsafe import Markup

from qdeploy.report.charts import svg
from qdeploy.report.charts.scatter import BOTTOM, LEFT, RIGHT, TOP, Dot, draw_dots
from qdeploy.report.data.rows import Row, headline, subline
from qdeploy.results import Load, Percentiles


def tpot_chart(rows: Iterable[Row[Load]]) -> Markup:
    """Draw the median time per output token against throughput."""
    return _chart(rows, lambda result: result.tpot_ms, "time per output token")


def ttft_chart(rows: Iterable[Row[Load]]) -> Markup:
    """Draw the median time to first token against throughput."""
    return _chart(rows, lambda result: result.ttft_ms, "time to first token")


def _chart(
    rows: Iterable[Row[Load]], latency: Callable[[Load], Percentiles | None], name: str
) -> Markup:
    dots = []
    for row in sorted(rows, key=lambda row: (row.result.rate or 0, row.result.concurrency)):
        result, found = row.result, latency(row.result)
        owner = (headline(row), str(result.environment.evidence), subline(row))
        if found is not None and found.p50 > svg.LEAST:
            dots.append(Dot(result.output_tokens_per_s, found.p50, owner, result.point))
    if not dots:
        return Markup()
    x = svg.from_zero([dot.x for dot in dots], LEFT, RIGHT)
    y = svg.over_decades([dot.y for dot in dots], BOTTOM, TOP)
    curves = [
        svg.line(x(a.x), y(a.y), x(b.x), y(b.y), "curve")
        for owner in dict.fromkeys(dot.owner for dot in dots)
        for of_owner in [[dot for dot in dots if dot.owner == owner]]
        for a, b in pairwise(of_owner)
    ]
    label = f"Median {name} against throughput"
    return draw_dots(dots, x, y, ("tokens per second", f"{name}, ms"), label, curves)
