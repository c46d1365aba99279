"""Spread, and the interval of a ratio."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.bench import statistics
from qdeploy.results.student import student_t

positive = st.floats(0.1, 100)
groups = st.lists(st.lists(positive, min_size=1, max_size=4), min_size=2, max_size=4)


def test_percentiles_of_known_values() -> None:
    found = statistics.spread([float(i) for i in range(101)])
    assert (found.count, found.p50, found.p95, found.p99) == (101, 50, 95, 99)


@given(st.lists(st.integers(0, 10**6).map(float), min_size=1, max_size=50))
def test_percentiles_ascend_between_minimum_and_maximum(values: list[float]) -> None:
    found = statistics.spread(values)
    assert found.count == len(values)
    assert min(values) <= found.p50 <= found.p95 <= found.p99 <= max(values)


def test_constant_samples_have_an_interval_of_no_width() -> None:
    interval = statistics.ratio_interval([[2.0, 2.0], [2.0]], [[3.0], [3.0, 3.0]])
    assert interval == pytest.approx((1.5, 1.5))


@settings(max_examples=10)
@given(groups, groups)
def test_an_interval_contains_the_ratio_and_is_reproducible(
    a: list[list[float]], b: list[list[float]]
) -> None:
    interval = statistics.ratio_interval(a, b)
    ratio = statistics.pooled_median(b) / statistics.pooled_median(a)
    assert interval is not None
    assert interval[0] * interval[1] == pytest.approx(ratio**2)
    assert interval == statistics.ratio_interval(a, b)


def test_one_process_has_no_interval() -> None:
    assert statistics.ratio_interval([[1.0, 2.0, 3.0]], [[1.0], [2.0]]) is None
    assert statistics.ratio_interval([[1.0], [2.0]], [[1.0]]) is None


def test_student_t_approaches_the_normal_distribution() -> None:
    found = [student_t(freedom) for freedom in range(2, 40)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.96, abs=1e-3)


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_the_interval_has_its_nominal_coverage(
    processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise of processes and of runs, no true difference; bound: 3 standard errors below 95%."""
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    chance = random.Random(1)
    trials, right = 150, 0
    for _ in range(trials):
        interval = statistics.ratio_interval(*(_noisy(chance, processes) for _ in "ab"))
        assert interval is not None
        right += interval[0] <= 1 <= interval[1]
    assert right / trials >= 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


def _noisy(chance: random.Random, processes: int) -> list[list[float]]:
    def process() -> list[float]:
        level = chance.gauss(100, 5)
        return [chance.gauss(level, 1) for _ in range(3)]

    return [process() for _ in range(processes)]


def test_the_interquartile_range_is_relative_to_the_median() -> None:
    assert statistics.relative_iqr([[1.0, 2.0], [3.0, 4.0, 5.0]]) == pytest.approx(2 / 3)
