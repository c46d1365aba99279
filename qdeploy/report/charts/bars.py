"""Bars: one block for each configuration, best first, one bar for each point of the grid.

Bars begin at 0, always. A stand-in's are hatched, so that they are never taken for hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup

from qdeploy.report.charts import svg
from qdeploy.report.data.rows import Row, achieved_bandwidth, headline, point, subline
from qdeploy.report.data.table import decimals, number
from qdeploy.results import Bench

LEFT = 78
"""Where bars begin: points of the grid stand before."""
DIGIT = 7.2
"""Units that a character of a value takes, which is bold."""
HEADING, BAR, GAP, BLOCK, AXIS = 34, 14, 5, 12, 34


@dataclass(frozen=True)
class Bar:
    """One value.

    Attributes:
        name: what stands before the bar.
        ceiling: a value to be held against this one, drawn as a mark across.
        note: what follows the value.
    """

    name: str
    value: float
    ceiling: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Block:
    """The bars of one configuration, under its name and its details."""

    heading: str
    detail: str
    evidence: str
    bars: tuple[Bar, ...]


def decode(rows: Iterable[Row[Bench]]) -> Markup:
    """Tokens a second of decoding."""
    blocks = _blocks(rows, lambda r: Bar(point(r.result), r.result.decode_tokens_per_s))
    return draw(blocks, "tokens a second", "Decode speed by device")


def prefill(rows: Iterable[Row[Bench]]) -> Markup:
    """Prompt tokens a second."""
    blocks = _blocks(rows, lambda r: Bar(point(r.result), r.result.prefill_tokens_per_s))
    return draw(blocks, "prompt tokens a second", "Prefill speed by device")


def roofline(rows: Iterable[Row[Bench]]) -> Markup:
    """Bytes of weights read a second, under the bandwidth measured on the same machine."""
    measured = [row for row in rows if achieved_bandwidth(row) is not None]

    def bar(row: Row[Bench]) -> Bar:
        roof = (row.machine.bandwidth_bytes_per_s or 0) / 1e9
        share = f"({100 * (row.result.memory_bandwidth_utilization or 0):.0f}%)"
        return Bar(point(row.result), (achieved_bandwidth(row) or 0) / 1e9, roof, share)

    return draw(_blocks(measured, bar), "GB/s", "Achieved and measured memory bandwidth")


def draw(blocks: list[Block], unit: str, label: str) -> Markup:
    """Draw blocks over one axis from 0. Nothing at all where there is no block."""
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
    found: dict[tuple[str, str, str], list[Bar]] = {}
    for row in rows:
        key = (headline(row), subline(row), str(row.result.environment.evidence))
        found.setdefault(key, []).append(bar(row))
    blocks = [Block(*key, tuple(bars)) for key, bars in found.items()]
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
