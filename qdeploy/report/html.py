"""The report as one HTML file, without scripts or external resources.

The template and the SVG module escape everything that comes from results files. As a second
safeguard, the page's content security policy forbids all scripts and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from qdeploy.report.charts.bars import decode_chart, prefill_chart, roofline_chart
from qdeploy.report.charts.inter_token_latency import latency_chart
from qdeploy.report.charts.load import tpot_chart, ttft_chart
from qdeploy.report.charts.scatter import prediction_chart, quality_chart
from qdeploy.report.data.loads import LoadSection
from qdeploy.report.data.model import Page, Quality, Speed
from qdeploy.report.data.rows import Row
from qdeploy.report.data.table import Badge
from qdeploy.results import Bench, Load

PAGE = "report.html.jinja"
EVIDENCE = {
    "device": "it ran on that hardware, as the runtime itself confirmed",
    "simulated": "it ran on a simulated device, as requested; the hardware's speed is unknown",
    "contract": "the calls to the vendor's library were checked against a stub",
    "none": "nothing was run",
}

SPEED_CHARTS: tuple[tuple[str, Callable[[Sequence[Row[Bench]]], Markup], str], ...] = (
    (
        "Decode speed by device",
        decode_chart,
        "One bar per grid point (prompt + new tokens). Higher is better.",
    ),
    (
        "Prefill speed by device",
        prefill_chart,
        "Prompt tokens divided by time to first token. Higher is better.",
    ),
    (
        "Inter-token latency",
        latency_chart,
        "All tokens of all runs at the longest prompt + new; marks at p50, p95 and p99.",
    ),
    (
        "Decode speed, predicted against measured",
        prediction_chart,
        "On the line, the prediction was exact; in the band, within a factor of 2.",
    ),
    (
        "Roofline",
        roofline_chart,
        "Weights read per second of decoding. Mark: memory bandwidth, which caches may exceed.",
    ),
)
"""Charts of benchmark results: title, drawing function, caption."""


LOAD_CHARTS: tuple[tuple[str, Callable[[Sequence[Row[Load]]], Markup], str], ...] = (
    (
        "Throughput against time per token",
        tpot_chart,
        "One point per load, joined by ascending concurrency. Lower right is better.",
    ),
    (
        "Throughput against time to first token",
        ttft_chart,
        "The same loads. Waiting for other requests is part of the time.",
    ),
)
"""Charts of results under load: title, drawing function, caption."""


def render_html(page: Page) -> str:
    """Render a report as HTML."""
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
        speed_charts=_speed_charts,
        load_charts=_load_charts,
        quality_charts=_quality_charts,
    )


def _speed_charts(speed: Speed) -> list[tuple[str, Markup, str]]:
    """Title, picture and caption of each chart that is not empty."""
    rows = speed.group.rows
    charts = [(title, draw(rows), caption) for title, draw, caption in SPEED_CHARTS]
    return [chart for chart in charts if chart[1]]


def _load_charts(load: LoadSection) -> list[tuple[str, Markup, str]]:
    rows = load.group.rows
    charts = [(title, draw(rows), caption) for title, draw, caption in LOAD_CHARTS]
    return [chart for chart in charts if chart[1]]


def _quality_charts(quality: Quality) -> list[tuple[str, Markup, str]]:
    rows = quality.group.rows
    caption = "Divergence from the reference against bundle size. Lower left is better."
    if any(row.result.artifact.calibrated for row in rows):
        caption += " Circles are data-free bundles, diamonds calibrated ones."
    if any(row.result.kl.interval for row in rows):
        caption += " Lines are 95% intervals."
    charts = [("Quality against size", quality_chart(rows), caption)]
    return [chart for chart in charts if chart[1]]


def _source(name: str) -> str:
    return (resources.files("qdeploy.report") / "templates" / name).read_text(encoding="utf-8")
