"""Whether two mean KL divergences of one text differ by more than the text's own variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qdeploy.results import Eval

Interval = tuple[float, float]
Method = Literal["paired", "intervals", "none"]
QualityVerdict = Literal["regression", "worse", "within noise", "better", "no interval"]

LEAST_NATS = 1e-7
"""Two divergences below this are rounding errors of float arithmetic, and do not differ."""


@dataclass(frozen=True)
class Change:
    """By how much B's mean KL divergence differs from A's, in nats per token.

    Attributes:
        difference: B's minus A's; above 0, B is farther from the reference.
        interval: 95% interval of the difference; None if a side is too short a text, or was
            evaluated by an older version of qdeploy.
        method: where the interval is from: a paired bootstrap over the same passages; the intervals
            of both sides, which makes it wider than it need be; or nowhere.
        verdict: `no interval` claims nothing, whatever the difference.
    """

    difference: float
    interval: Interval | None
    method: Method
    verdict: QualityVerdict


def judge_quality(one: Eval, other: Eval, threshold: float | None = None) -> Change:
    """Compare the divergences of two results; *threshold* is in percent of the first's.

    It is a regression if the whole interval is beyond the threshold. Without one, it is worse.
    """
    a, b = one.kl, other.kl
    interval, method = _interval(one, other)
    difference = b.mean - a.mean
    if interval is None:
        return Change(difference, None, method, "no interval")
    low, high = interval
    verdict: QualityVerdict = "within noise"
    if max(a.mean, b.mean) >= LEAST_NATS:
        if low > 0:
            beyond = threshold is not None and low > threshold / 100 * a.mean
            verdict = "regression" if beyond else "worse"
        elif high < 0:
            verdict = "better"
    return Change(difference, interval, method, verdict)


def _interval(one: Eval, other: Eval) -> tuple[Interval | None, Method]:
    from qdeploy.evaluate.interval import difference_interval, same_blocks  # imports NumPy

    a, b = one.kl, other.kl
    if one.text == other.text and same_blocks(a.blocks, b.blocks):
        paired = difference_interval(a.blocks, b.blocks)
        return paired, "none" if paired is None else "paired"
    if a.interval is None or b.interval is None:
        return None, "none"
    return (b.interval[0] - a.interval[1], b.interval[1] - a.interval[0]), "intervals"
