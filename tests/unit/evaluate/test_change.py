"""Verdicts on the difference of two KL divergences: none without an interval."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.evaluate.change import LEAST_NATS, judge_quality
from qdeploy.results import Divergence, Eval
from tests.support import shown

HARD = (0.01, 0.10, 0.03, 0.05, 0.02, 0.08, 0.015, 0.09)
MEANS = st.lists(st.floats(1e-3, 1), min_size=6, max_size=6)


def of(*means: float, **changes: Any) -> Eval:
    return shown.evaluation(kl=shown.divergence(*means), **changes)


def times(factor: float) -> Eval:
    return of(*(factor * kl for kl in HARD))


def without_blocks(row: Eval) -> Eval:
    return row.model_copy(update={"kl": row.kl.model_copy(update={"blocks": ()})})


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.0, "within noise"), (0.8, "better"), (1.03, "worse"), (1.5, "regression")],
)
def test_the_verdict_on_passages_that_all_change_alike(factor: float, expected: str) -> None:
    found = judge_quality(of(*HARD), times(factor), threshold=5)
    assert (found.method, found.verdict) == ("paired", expected)


def test_passages_that_disagree_are_within_noise() -> None:
    found = judge_quality(of(*HARD), of(*reversed(HARD[:4]), *HARD[4:]), threshold=5)
    assert found.verdict == "within noise"


def test_without_the_passages_the_intervals_must_not_overlap() -> None:
    one, near, far = (without_blocks(row) for row in (of(*HARD), times(0.8), times(0.1)))
    assert judge_quality(one, near, 5).verdict == "within noise"
    found = judge_quality(one, far, 5)
    assert (found.method, found.verdict) == ("intervals", "better")
    assert found.interval is not None
    paired = judge_quality(of(*HARD), times(0.1), 5)
    assert paired.interval is not None
    assert found.interval[0] <= paired.interval[0]
    assert paired.interval[1] <= found.interval[1]


def test_passages_of_another_text_are_not_paired() -> None:
    other = of(*HARD, text={"name": "other", "sha256": "01" * 32, "tokens": 4096})
    assert judge_quality(of(*HARD), other, 5).method == "intervals"


def test_results_of_older_versions_and_short_texts_have_no_verdict() -> None:
    old = shown.evaluation(0.5)
    for one, other in ((old, of(*HARD)), (of(*HARD), old), (of(0.1, 0.2), of(0.3, 0.4))):
        found = judge_quality(one, other, 5)
        assert (found.interval, found.method, found.verdict) == (None, "none", "no interval")


def test_rounding_errors_do_not_differ() -> None:
    tiny = LEAST_NATS / 1000
    found = judge_quality(of(*[tiny] * 8), of(*[9 * tiny] * 8), 5)
    assert found.verdict == "within noise"


@settings(max_examples=25, deadline=None)
@given(MEANS, MEANS, st.floats(0, 50))
def test_a_verdict_holds_for_the_whole_interval(
    a: list[float], b: list[float], threshold: float
) -> None:
    one, other = of(*a), of(*b)
    found = judge_quality(one, other, threshold)
    assert found.interval is not None
    low, high = found.interval
    assert found.difference == pytest.approx(other.kl.mean - one.kl.mean)
    assert (found.verdict == "within noise") == (low <= 0 <= high)
    if found.verdict in ("worse", "regression"):
        assert low > 0
    if found.verdict == "regression":
        assert low > threshold / 100 * one.kl.mean


def test_a_divergence_without_change_is_one_of_nothing() -> None:
    nothing = shown.evaluation(kl=Divergence(mean=0, p99=0, max=0))
    assert judge_quality(nothing, nothing, 5).verdict == "no interval"
