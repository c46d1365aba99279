"""Bits where they count: against every possible choice, on small instances."""

from __future__ import annotations

from itertools import product
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.planning.allocation import Option, allocate, least_bytes, most_bytes

OPTIONS = st.builds(Option, st.integers(0, 60), st.integers(0, 40).map(float))
UNITS = st.lists(st.lists(OPTIONS, min_size=1, max_size=5), min_size=1, max_size=5)
FINE_OPTIONS = st.builds(Option, st.integers(1, 10**9), st.floats(0, 1e6))
FINE_UNITS = st.lists(st.lists(FINE_OPTIONS, min_size=1, max_size=4), min_size=1, max_size=30)
ROOM = st.integers(0, 250)
INT4, INT8 = 0, 1


def best_loss(units: list[list[Option]], limit: int) -> float:
    """The least loss of all possible choices."""
    choices = product(*units)
    return min(
        sum(o.loss for o in choice) for choice in choices if sum(o.nbytes for o in choice) <= limit
    )


def largest_step(units: list[list[Option]]) -> float:
    """The most loss that any option of one unit saves."""
    return max(max(o.loss for o in options) - min(o.loss for o in options) for options in units)


@given(UNITS, ROOM)
def test_within_one_step_of_the_least_loss(units: list[list[Option]], room: int) -> None:
    limit = least_bytes(units) + room
    found = allocate(units, limit)
    taken = [options[i] for options, i in zip(units, found.chosen, strict=True)]
    assert found.nbytes == sum(o.nbytes for o in taken) <= limit
    assert found.loss == sum(o.loss for o in taken)
    best = best_loss(units, limit)
    assert best <= found.loss
    assert found.loss == best or found.loss < best + largest_step(units)


@given(UNITS, ROOM, ROOM)
def test_more_room_never_costs_quality(units: list[list[Option]], one: int, other: int) -> None:
    least = least_bytes(units)
    small, large = sorted((one, other))
    assert allocate(units, least + large).loss <= allocate(units, least + small).loss


@given(FINE_UNITS, st.floats(0, 1), st.floats(0, 1))
def test_more_room_never_costs_quality_at_real_sizes(
    units: list[list[Option]], one: float, other: float
) -> None:
    least, most = least_bytes(units), most_bytes(units)
    small, large = (least + round((most - least) * share) for share in sorted((one, other)))
    less, more = allocate(units, small), allocate(units, large)
    assert less.nbytes <= small
    assert more.nbytes <= large
    assert more.loss <= less.loss * (1 + 1e-9) + 1e-9


@given(UNITS)
def test_the_ends_are_the_smallest_and_the_best(units: list[list[Option]]) -> None:
    smallest = allocate(units, least_bytes(units))
    assert smallest.nbytes == least_bytes(units)
    largest = allocate(units, most_bytes(units))
    assert largest.nbytes == most_bytes(units)
    assert largest.loss == sum(min(o.loss for o in options) for options in units)
    assert allocate(units, 10**9) == largest


@given(UNITS, ROOM)
def test_a_unit_stays_smallest_only_where_nothing_better_fits(
    units: list[list[Option]], room: int
) -> None:
    limit = least_bytes(units) + room
    found = allocate(units, limit)
    free = limit - found.nbytes
    for options, i in zip(units, found.chosen, strict=True):
        here = options[i]
        if here.nbytes == min(o.nbytes for o in options):
            fitting = (o for o in options if o.nbytes - here.nbytes <= free)
            assert all(o.loss >= here.loss for o in fitting)


def test_bits_go_where_they_save_the_most_loss() -> None:
    """Three equal weights: the one that loses the most by four bits gets eight."""
    weights = [[Option(4, loss), Option(8, loss / 300)] for loss in (1.0, 7.0, 3.0)]
    assert allocate(weights, 12).chosen == (INT4, INT4, INT4)
    assert allocate(weights, 16).chosen == (INT4, INT8, INT4)
    assert allocate(weights, 20).chosen == (INT4, INT8, INT8)
    assert allocate(weights, 23).chosen == (INT4, INT8, INT8)
    assert allocate(weights, 24).chosen == (INT8, INT8, INT8)


def test_an_option_above_the_hull_fills_what_is_left() -> None:
    """The large step does not fit; the middle option saves less a byte, and does."""
    assert allocate([[Option(0, 10.0), Option(6, 8.0), Option(10, 0.0)]], 7).chosen == (1,)


@pytest.mark.parametrize("loss", [-1.0, inf, nan])
def test_a_loss_that_is_none_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="unit 1"):
        allocate([[Option(1, 1.0)], [Option(1, loss)]], 10)


def test_units_without_options_and_limits_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="no option"):
        allocate([[]], 10)
    with pytest.raises(ValueError, match="3 bytes more"):
        allocate([[Option(4, 1.0)], [Option(9, 1.0)]], 10)


def test_nothing_to_choose() -> None:
    assert allocate([], 0).chosen == ()
