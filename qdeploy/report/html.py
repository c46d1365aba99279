"""The page: one file, without a script and without anything to fetch.

Whatever comes from a file of results is escaped, by the template and by the SVG module alike; and
should a gap be left in that, the page's own policy still forbids every script and every request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from qdeploy.report.charts import bars, inter_token_latency, scatter
from qdeploy.report.data.model import Page, Quality, Speed
from qdeploy.report.data.rows import Row
from qdeploy.report.data.table import Badge
from qdeploy.results import Bench

PAGE = "report.html.jinja"
EVIDENCE = {
    "device": "it ran on that hardware, and the runtime itself said so",
    "simulated": "it ran on a stand-in, on explicit request; the device's speed is unknown",
    "contract": "the calls to the vendor's library were checked against a stub",
    "none": "nothing was run",
}

SPEED: tuple[tuple[str, Callable[[Sequence[Row[Bench]]], Markup], str], ...] = (
    (
        "Decode speed by device",
        bars.decode,
        "Each bar: prompt + new tokens. Higher is better.",
    ),
    (
        "Prefill speed by device",
        bars.prefill,
        "Prompt tokens over time to first token. Higher is better.",
    ),
    (
        "Time between tokens",
        inter_token_latency.draw,
        "Every gap of every run, at the longest prompt + new; marks at p50, p95 and p99.",
    ),
    (
        "Decode speed, predicted against measured",
        scatter.predicted,
        "On the line, the forecast was right; in the band, within a factor of 2.",
    ),
    (
        "Roofline",
        bars.roofline,
        "Weights read a second while decoding. The mark is memory's bandwidth; caches may pass it.",
    ),
)
"""Plots of measurements: title, what draws it, what to know."""


def render(page: Page) -> str:
    """Write the page as HTML."""
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["badge"] = lambda cell: isinstance(cell, Badge)
    return environment.get_template(PAGE).render(
        page=page,
        evidence=EVIDENCE,
        speed_plots=_speed_plots,
        quality_plots=_quality_plots,
    )


def _speed_plots(speed: Speed) -> list[tuple[str, Markup, str]]:
    """Title, picture and what to know for each plot that has something to show."""
    rows = speed.group.rows
    return [
        plot for plot in ((title, draw(rows), about) for title, draw, about in SPEED) if plot[1]
    ]


def _quality_plots(quality: Quality) -> list[tuple[str, Markup, str]]:
    about = "Divergence from the reference over the bundle's size. Lower left is better."
    plots = [("Quality against size", scatter.quality(quality.group.rows), about)]
    return [plot for plot in plots if plot[1]]


def _source(name: str) -> str:
    return (resources.files("qdeploy.report") / "templates" / name).read_text(encoding="utf-8")
