"""Spread, and the interval of a ratio."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.bench import statistics

positive = st.floats(0.1, 100)
groups = st.lists(st.lists(positive, min_size=1, max_size=4), min_size=1, max_size=4)


def test_percentiles_of_known_values() -> None:
    found = statistics.spread([float(i) for i in range(101)])
    assert (found.count, found.p50, found.p95, found.p99) == (101, 50, 95, 99)


def test_constant_samples_leave_no_doubt() -> None:
    low, high = statistics.ratio_interval([[2.0, 2.0], [2.0]], [[3.0], [3.0, 3.0]])
    assert (low, high) == (1.5, 1.5)


@settings(max_examples=10)
@given(groups, groups)
def test_an_interval_lies_within_what_the_samples_allow(
    a: list[list[float]], b: list[list[float]]
) -> None:
    low, high = statistics.ratio_interval(a, b)
    one, other = [*chain(*a)], [*chain(*b)]
    assert min(other) / max(one) <= low <= high <= max(other) / min(one)
    assert (low, high) == statistics.ratio_interval(a, b)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Noise of processes and of runs, no true difference; three standard errors below 95%."""
    chance = random.Random(1)
    trials, right = 24, 0
    for _ in range(trials):
        a, b = _noisy(chance), _noisy(chance)
        low, high = statistics.ratio_interval(a, b)
        right += low <= 1 <= high
    assert right / trials >= 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


def _noisy(chance: random.Random) -> list[list[float]]:
    def process() -> list[float]:
        level = chance.gauss(100, 5)
        return [chance.gauss(level, 1) for _ in range(3)]

    return [process() for _ in range(8)]


def test_the_quartiles_distance_is_a_part_of_the_median() -> None:
    assert statistics.relative_iqr([[1.0, 2.0], [3.0, 4.0, 5.0]]) == pytest.approx(2 / 3)
