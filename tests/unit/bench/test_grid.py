"""The grid of lengths, and what is no grid."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.bench import grid
from qdeploy.bench.grid import Point
from qdeploy.errors import InputError


@given(st.lists(st.integers(1, 10**6), min_size=1))
def test_numbers_come_back_once_and_in_order(numbers: list[int]) -> None:
    assert grid.parse(", ".join(map(str, numbers)), "--prompt") == tuple(sorted(set(numbers)))


@pytest.mark.parametrize("text", ["", " ", ",", ",,"])
def test_an_empty_grid_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="the grid is empty"):
        grid.parse(text, "--prompt")


@pytest.mark.parametrize(
    "text", ["many", "0", "-8", "1.5", "1e3", "128;512", "128,,512", "٣", "9999999999", "0x10"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a number of tokens") as caught:
        grid.parse(text, "--prompt")
    assert "--prompt 128,512" in str(caught.value.fix)


@given(st.text())
def test_any_text_is_a_grid_or_refused(text: str) -> None:
    try:
        values = grid.parse(text, "--new", least=2)
    except InputError:
        return
    assert values
    assert min(values) >= 2


def test_the_speed_of_decoding_needs_two_tokens() -> None:
    with pytest.raises(InputError, match="'1' is not"):
        grid.parse("1", "--new", least=grid.FEWEST_NEW)


@given(st.integers(2, 10**5), st.integers(1, 10**5))
def test_the_default_fits_wherever_an_answer_does(context: int, new: int) -> None:
    prompts = grid.fitting(grid.PROMPTS, (new,), context)
    assert prompts
    if new < context:
        assert all(p + new <= context for p in prompts)


def test_a_point_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="100 prompt and 29 new tokens do not fit"):
        grid.check([Point(100, 28), Point(100, 29)], 128, Path("bundle"))
    grid.check([Point(100, 28)], 128, Path("bundle"))
