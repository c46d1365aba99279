"""Where two texts or lists of ids part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qdeploy.verification.text import first_difference

IDS = st.lists(st.integers(0, 3))


@given(IDS)
def test_equal_lists_do_not_differ(ids: list[int]) -> None:
    assert first_difference(ids, list(ids)) is None


@given(IDS, IDS)
def test_lists_are_equal_before_the_first_difference_and_not_at_it(
    a: list[int], b: list[int]
) -> None:
    place = first_difference(a, b)
    if place is None:
        assert a == b
    else:
        assert a[:place] == b[:place]
        assert a[place : place + 1] != b[place : place + 1]
