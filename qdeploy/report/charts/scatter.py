"""Scatter plots: predicted against measured speed, and quality against size.

Points are numbered and a key below names them, because names beside the points would overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qdeploy.report.charts import svg
from qdeploy.report.data.rows import Row, grid_point, headline, subline
from qdeploy.report.data.table import number
from qdeploy.results import Bench, Eval

LEFT, RIGHT, TOP, BOTTOM = 52, svg.WIDTH - 14, 10, 250
UNDER, LINE = 46, 30
"""Height below the axis for tick labels and unit, and height of each line of the key."""
LEAST_KL = 1e-7
"""A divergence below this is rounding error and is drawn at this value."""


@dataclass(frozen=True)
class Dot:
    """A point.

    Attributes:
        owner: name, evidence and details of the configuration whose number the point has.
        note: shown in the tooltip.
        interval: lowest and highest y, drawn as a line through the point.
        calibrated: drawn as a diamond in another colour.
    """

    x: float
    y: float
    owner: tuple[str, str, str]
    note: str = ""
    interval: tuple[float, float] | None = None
    calibrated: bool = False


def prediction_chart(rows: Iterable[Row[Bench]]) -> Markup:
    """Draw decode speed, predicted against measured; the band marks a factor of 2."""
    dots = []
    for row in rows:
        result, measured = row.result, row.result.decode_tokens_per_s
        owner = (headline(row), str(result.environment.evidence), subline(row))
        forecast = (result.predicted or {}).get("decode_tokens_per_s", 0)
        if forecast > svg.LEAST and measured > svg.LEAST:
            dots.append(Dot(forecast, measured, owner, grid_point(result)))
    if not dots:
        return Markup()
    values = [v for dot in dots for v in (dot.x, dot.y)]
    x = svg.over_decades(values, LEFT, RIGHT)
    y = svg.over_decades(values, BOTTOM, TOP)
    behind = [
        svg.tag("path", d=_band(x, y), class_="band"),
        svg.line(x(x.low), y(x.low), x(x.high), y(x.high), "mark"),
    ]
    label = "Decode speed, predicted against measured, tokens per second"
    return draw_dots(dots, x, y, ("predicted tok/s", "measured tok/s"), label, behind)


def quality_chart(rows: Iterable[Row[Eval]]) -> Markup:
    """Draw divergence from the reference against bundle size; lower left is better.

    Bundles that are calibrated have another mark than data-free ones.
    """
    dots = [
        Dot(
            row.result.artifact.bundle_bytes / 1e6,
            max(row.result.kl.mean, LEAST_KL),
            (
                f"{row.result.artifact.profile} · {row.result.artifact.weights}",
                str(row.result.environment.evidence),
                f"{headline(row)} · {row.result.environment.backend} · {row.machine_name}",
            ),
            interval=_drawn(row.result.kl.interval),
            calibrated=row.result.artifact.calibrated,
        )
        for row in rows
    ]
    if not dots:
        return Markup()
    x = svg.from_zero([dot.x for dot in dots], LEFT, RIGHT)
    ends = [end for dot in dots for end in dot.interval or ()]
    y = svg.over_decades([*(dot.y for dot in dots), *ends], BOTTOM, TOP)
    label = "Mean KL divergence from the reference against bundle size"
    return draw_dots(dots, x, y, ("bundle, MB", "mean KL, nats per token"), label)


def _drawn(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """An interval of divergences with ends that a logarithmic axis has."""
    return interval and (max(interval[0], LEAST_KL), max(interval[1], LEAST_KL))


def draw_dots(
    dots: Sequence[Dot],
    x: svg.Scale,
    y: svg.Scale,
    units: tuple[str, str],
    label: str,
    behind: Sequence[Markup] = (),
) -> Markup:
    """Draw dots over two axes, and below them a key of their owners."""
    owners = list(dict.fromkeys(dot.owner for dot in dots))
    parts = [*_axes(x, y, units), *behind]
    taken: list[tuple[float, float]] = [(x(dot.x), y(dot.y)) for dot in dots]
    for dot in dots:
        at = (x(dot.x), y(dot.y))
        name = " · ".join(filter(None, (*dot.owner, dot.note)))
        words = f"{name}: {number(dot.x)} {units[0]}, {number(dot.y)} {units[1]}"
        if dot.interval:
            words += f" ({number(dot.interval[0])} to {number(dot.interval[1])})"
        parts.append(svg.tag("g", svg.tag("title", words), *_mark(dot, at, y)))
        if place := _free(at, taken):
            taken.append(place)
            parts.append(svg.text(*place, str(owners.index(dot.owner) + 1), "value", "middle"))
    foot = BOTTOM + UNDER
    for i, (name, evidence, detail) in enumerate(owners):
        parts.append(svg.heading(foot + LINE * i, f"{i + 1}  {name}", evidence, detail))
    return svg.picture(foot + LINE * len(owners), *parts, label=label)


def _mark(dot: Dot, at: tuple[float, float], y: svg.Scale) -> list[Markup]:
    """A circle, or a diamond of the same area, on the line of its interval."""
    kind = " calibrated" if dot.calibrated else ""
    marks = []
    if dot.interval:
        low, high = (y(end) for end in dot.interval)
        marks.append(svg.line(at[0], low, at[0], high, f"whisker{kind}"))
    if dot.calibrated:
        corners = ((0, -6.3), (6.3, 0), (0, 6.3), (-6.3, 0))
        path = "M" + "L".join(f"{at[0] + dx:.1f} {at[1] + dy:.1f}" for dx, dy in corners) + "Z"
        marks.append(svg.tag("path", d=path, class_=f"dot{kind}"))
    else:
        marks.append(svg.tag("circle", cx=at[0], cy=at[1], r=5, class_="dot"))
    return marks


def _free(
    at: tuple[float, float], taken: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """A free position for a point's number beside it; None if all positions are taken.

    The tooltip names the point in any case.
    """
    places = ((at[0] + dx, at[1] + 4 + dy) for dx, dy in _AROUND)
    free = (
        p for p in places
        if LEFT < p[0] < svg.WIDTH - 4
        and TOP < p[1] < BOTTOM
        and all(abs(p[0] - t[0]) > 10 or abs(p[1] - t[1]) > 11 for t in taken if t != at)
    )  # fmt: skip
    return next(free, None)


_AROUND = ((11, 0), (-11, 0), (0, -13), (0, 13), (11, -12), (-11, -12), (11, 12), (-11, 12))


def _band(x: svg.Scale, y: svg.Scale) -> str:
    """The area where measured is between half and twice the predicted, clipped to the axes."""
    low, high = x.low, x.high
    corners = (
        (low, low), (low, min(high, 2 * low)), (max(low, high / 2), high), (high, high),
        (high, max(low, high / 2)), (min(high, 2 * low), low),
    )  # fmt: skip
    return "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in corners) + "Z"


def _axes(x: svg.Scale, y: svg.Scale, units: tuple[str, str]) -> list[Markup]:
    parts = []
    for value in x.ticks:
        parts.append(svg.line(x(value), TOP, x(value), BOTTOM, "grid"))
        parts.append(svg.text(x(value), BOTTOM + 15, svg.tick(value), "detail", "middle"))
    for value in y.ticks:
        parts.append(svg.line(LEFT, y(value), RIGHT, y(value), "grid"))
        parts.append(svg.text(LEFT - 5, y(value) + 4, svg.tick(value), "detail", "end"))
    parts += [
        svg.line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"),
        svg.line(LEFT, TOP, LEFT, BOTTOM, "axis"),
    ]
    parts.append(svg.text((LEFT + RIGHT) / 2, BOTTOM + 31, units[0], "detail", "middle"))
    upright = svg.tag(
        "text", units[1], class_="detail", text_anchor="middle",
        transform=f"translate(9 {(TOP + BOTTOM) / 2:g}) rotate(-90)",
    )  # fmt: skip
    return [*parts, upright]
