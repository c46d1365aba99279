"""SVG elements for charts; all attributes and texts are escaped.

Elements have classes instead of colours, and the page's style sheet colours them for light and dark
mode. A chart is `WIDTH` units wide, about the width in pixels of a phone's screen, so its text has
the same size there as on a desktop, where charts are placed side by side.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from qdeploy.report.data.table import LEAST_PLAIN, exponential

WIDTH = 360
CHARACTER, WIDE = 6.1, 7.9
"""Maximum width of a character in common sans-serif fonts: of plain text, and of a heading."""

LEAST, MOST = 1e-9, 1e18
"""Limits of an axis, whatever values a file contains; no real measurement is outside."""


def tag(_name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """One element. `class_` becomes `class`, other underscores become hyphens, None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    # all parts are escaped or are names from this package
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{_name}{written}>{inside}</{_name}>")  # noqa: S704


def picture(height: float, *parts: Markup, label: str) -> Markup:
    """A whole chart; *label* is read by screen readers."""
    box = f"0 0 {WIDTH} {_short(height)}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=label, class_="plot")


def text(x: float, y: float, words: str, class_: str = "", anchor: str | None = None) -> Markup:
    return tag("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def fitted(words: str, units: float, character: float = CHARACTER) -> str:
    """Truncate *words* to a width; wide (East Asian) characters count as two."""
    ends = list(accumulate(2 if east_asian_width(c) in "FW" else 1 for c in words))
    room = int(units / character)
    if not ends or ends[-1] <= room:
        return words
    return words[: bisect_left(ends, room)].rstrip() + "…"


def heading(y: float, name: str, evidence: str, detail: str) -> Markup:
    """Two lines above a configuration's marks: its name, then its evidence and details."""
    shown = tag("tspan", evidence, class_=f"word {evidence}")
    rest = fitted(f" · {detail}", WIDTH - CHARACTER * len(evidence))
    return tag(
        "g",
        tag("title", f"{name} · {evidence} · {detail}"),
        text(0, y + 13, fitted(name, WIDTH, WIDE), "heading"),
        tag("text", shown, rest, x=0, y=y + 27, class_="detail"),
    )


@dataclass(frozen=True)
class Scale:
    """Maps values to positions along an axis; values outside are drawn at its ends.

    Attributes:
        low, high: the values at the ends.
        start, end: the positions of the ends.
        ticks: the values that have a tick.
        logarithmic: equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        bend: Callable[[float], float] = math.log10 if self.logarithmic else float
        value = min(max(value, self.low), self.high)
        part = (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low))
        return self.start + part * (self.end - self.start)


def from_zero(values: Sequence[float], start: float, end: float) -> Scale:
    """A linear axis from 0 to a round value at or above the largest, with 3 to 6 ticks."""
    largest = min(max([v for v in values if v > LEAST], default=1.0), MOST)
    step = _round_step(largest / 4)
    steps = math.ceil(largest / step - 1e-9)
    ticks = tuple(step * i for i in range(steps + 1))
    return Scale(0, ticks[-1], start, end, ticks)


def over_decades(values: Sequence[float], start: float, end: float) -> Scale:
    """A logarithmic axis around positive *values*, with ticks at 1, 2 and 5 of each decade.

    If that gives more than 7 ticks, there are ticks at the decades only.
    """
    low, high = (min(max(end, LEAST), MOST) for end in (min(values), max(values)))
    marks = [m * 10.0**d for d in range(_decade(low) - 1, _decade(high) + 2) for m in (1, 2, 5)]
    below = max(m for m in marks if m <= low * (1 + 1e-9))
    above = min(m for m in marks if m >= high * (1 - 1e-9) and m > below)
    ticks = tuple(m for m in marks if below <= m <= above)
    if len(ticks) > 7:
        ticks = tuple(m for m in ticks if math.isclose(m, 10.0 ** round(math.log10(m))))
    return Scale(below, above, start, end, ticks, logarithmic=True)


def tick(value: float) -> str:
    """The label of a tick, as short as possible: 0.0005 is 5e-4, and 20000 is 20k."""
    if value and abs(value) < LEAST_PLAIN:
        return exponential(value, 0)
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size:
            return f"{value / size:,.4g}{letter}"
    return f"{value:,.10g}"


def _decade(value: float) -> int:
    return math.floor(math.log10(value))


def _round_step(step: float) -> float:
    decade = 10.0 ** _decade(step)
    return next(m * decade for m in (1, 2, 2.5, 5, 10) if m * decade >= step * (1 - 1e-9))


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
