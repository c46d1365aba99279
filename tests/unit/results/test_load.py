"""Results under load: the histogram is right within a percent, and what is spoilt is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qdeploy.results import Histogram

TIMES = st.lists(st.floats(0, 1e7), min_size=1, max_size=50)


@given(TIMES)
def test_a_percentile_is_right_within_a_bin(times: list[float]) -> None:
    found = Histogram.of(times)
    assert found.count == len(times)
    ordered = sorted(times)
    for part in (0.5, 0.9, 0.99):
        rank = next(v for i, v in enumerate(ordered, 1) if i >= part * len(times))
        assert found.percentile(part) == pytest.approx(rank, rel=0.0101, abs=0.01)


@given(TIMES, TIMES)
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    counts = Counter(dict(Histogram.of(one).bins)) + Counter(dict(Histogram.of(other).bins))
    assert Histogram.counted(counts) == Histogram.of(one + other)


def test_an_empty_one_has_no_percentiles() -> None:
    assert Histogram.of([]).percentiles() is None


@pytest.mark.parametrize("bins", [[[2, 1], [1, 1]], [[1, 1], [1, 2]], [[1, 0]], [[1, 1]] * 2001])
def test_spoilt_bins_are_refused(bins: list[list[int]]) -> None:
    with pytest.raises(ValidationError):
        Histogram.model_validate({"bins": bins})
