"""Bar charts: one block per configuration, best first, with one bar per grid point.

Bars always start at 0. Bars of simulated devices are hatched, to distinguish them from hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup

from qdeploy.report.charts import svg
from qdeploy.report.data.rows import Row, achieved_bandwidth, grid_point, headline, subline
from qdeploy.report.data.table import decimals, number
from qdeploy.results import Bench

LEFT = 78
"""Start of the bars; the grid points are to the left."""
DIGIT = 7.2
"""Width of a character of a value, which is bold."""
HEADING, BAR, GAP, BLOCK, AXIS = 34, 14, 5, 12, 34


@dataclass(frozen=True)
class Bar:
    """One value.

    Attributes:
        name: text before the bar.
        ceiling: an upper bound, drawn as a mark across the bar.
        note: text after the value.
    """

    name: str
    value: float
    ceiling: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Block:
    """The bars of one configuration, below its name and details."""

    heading: str
    detail: str
    evidence: str
    bars: tuple[Bar, ...]


def decode_chart(rows: Iterable[Row[Bench]]) -> Markup:
    """Draw decode speed in tokens per second."""
    blocks = _blocks(rows, lambda r: Bar(grid_point(r.result), r.result.decode_tokens_per_s))
    return draw_bars(blocks, "tokens per second", "Decode speed by device")


def prefill_chart(rows: Iterable[Row[Bench]]) -> Markup:
    """Draw prefill speed in prompt tokens per second."""
    blocks = _blocks(rows, lambda r: Bar(grid_point(r.result), r.result.prefill_tokens_per_s))
    return draw_bars(blocks, "prompt tokens per second", "Prefill speed by device")


def roofline_chart(rows: Iterable[Row[Bench]]) -> Markup:
    """Draw the bandwidth achieved while decoding, below that measured on the same machine."""
    measured = [row for row in rows if achieved_bandwidth(row) is not None]

    def bar(row: Row[Bench]) -> Bar:
        roof = (row.machine.bandwidth_bytes_per_s or 0) / 1e9
        utilization = f"({100 * (row.result.memory_bandwidth_utilization or 0):.0f}%)"
        return Bar(grid_point(row.result), (achieved_bandwidth(row) or 0) / 1e9, roof, utilization)

    return draw_bars(_blocks(measured, bar), "GB/s", "Achieved and measured memory bandwidth")


def draw_bars(blocks: list[Block], unit: str, label: str) -> Markup:
    """Draw blocks over one axis from 0; empty if there are no blocks."""
    if not blocks:
        return Markup()
    bars = [bar for block in blocks for bar in block.bars]
    digits = decimals([bar.value for bar in bars])
    right = svg.WIDTH - 5 - DIGIT * max(len(_value(bar, digits)) for bar in bars)
    scale = svg.from_zero([v for b in bars for v in (b.value, b.ceiling or 0)], LEFT, right)
    parts: list[Markup] = []
    y = 0.0
    for block in blocks:
        bottom = y + HEADING + len(block.bars) * (BAR + GAP)
        parts += _grid(scale, y + HEADING - GAP, bottom)
        parts.append(svg.heading(y, block.heading, block.evidence, block.detail))
        for place, bar in enumerate(block.bars):
            parts += _bar(bar, block.evidence, scale, y + HEADING + place * (BAR + GAP), digits)
        y = bottom + BLOCK
    y -= BLOCK
    parts += [svg.text(scale(v), y + 12, svg.tick(v), "detail", "middle") for v in scale.ticks]
    parts.append(svg.text((LEFT + right) / 2, y + 28, unit, "detail", "middle"))
    return svg.picture(y + AXIS, *parts, label=f"{label}, {unit}")


def _blocks(rows: Iterable[Row[Bench]], bar: Callable[[Row[Bench]], Bar]) -> list[Block]:
    bars: dict[tuple[str, str, str], list[Bar]] = {}
    for row in rows:
        key = (headline(row), subline(row), str(row.result.environment.evidence))
        bars.setdefault(key, []).append(bar(row))
    blocks = [Block(*key, tuple(of_block)) for key, of_block in bars.items()]
    return sorted(blocks, key=lambda block: -max(bar.value for bar in block.bars))


def _bar(bar: Bar, evidence: str, scale: svg.Scale, y: float, digits: int) -> list[Markup]:
    end, middle = scale(bar.value), y + BAR / 2 + 4
    value = _value(bar, digits)
    parts = [
        svg.text(LEFT - 6, middle, bar.name, "detail", "end"),
        svg.tag(
            "rect", svg.tag("title", f"{bar.name}: {value}"), x=LEFT, y=y, width=end - LEFT,
            height=BAR, class_=f"bar {evidence}",
        ),
    ]  # fmt: skip
    if bar.ceiling is not None:
        roof = scale(bar.ceiling)
        parts.append(svg.line(roof, y - 2, roof, y + BAR + 2, "roof"))
        end = max(end, roof)
    return [*parts, svg.text(end + 5, middle, value, "value")]


def _value(bar: Bar, digits: int) -> str:
    return f"{number(bar.value, digits)} {bar.note}".rstrip()


def _grid(scale: svg.Scale, top: float, bottom: float) -> list[Markup]:
    return [svg.line(scale(v), top, scale(v), bottom, "grid" if v else "axis") for v in scale.ticks]
