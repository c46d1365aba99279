"""Texts cut into sequences, and the choice of as many as are wanted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qdeploy.calibration.texts.sequences import SHORTEST, Sequences, take, windows

IDS = st.lists(st.integers(0, 9), max_size=200)


@given(ids=IDS, prefix=st.lists(st.just(99), max_size=2), length=st.integers(SHORTEST, 40))
def test_windows_hold_the_text_in_order(ids: list[int], prefix: list[int], length: int) -> None:
    found = windows([*prefix, *ids], prefix, length)
    assert all(SHORTEST <= len(window) <= length for window in found)
    assert all(list(window[: len(prefix)]) == prefix for window in found)
    text = [token for window in found for token in window[len(prefix) :]]
    assert text == ids[: len(text)]
    assert len(ids) - len(text) < SHORTEST


@given(
    lengths=st.lists(st.lists(st.integers(SHORTEST, 40), max_size=9), max_size=9),
    tokens=st.integers(0, 900),
)
def test_as_many_tokens_are_taken_as_there_are_up_to_the_total(
    lengths: list[list[int]], tokens: int
) -> None:
    number = iter(range(10**6))
    texts = [[tuple(next(number) for _ in range(n)) for n in text] for text in lengths]
    taken = take(texts, tokens)
    total, there = sum(map(len, taken)), sum(map(sum, lengths))
    assert total <= tokens
    assert total > min(tokens, there) - SHORTEST
    assert all(len(one) >= SHORTEST for one in taken)


def test_a_long_text_does_not_stand_for_all() -> None:
    book = [(0, number, *range(8)) for number in range(100)]
    others = [[(1, number, *range(8))] for number in range(6)]
    taken = take([book, *others], 100)
    assert [ids[0] for ids in taken] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert len(take([book, *others], 500)) == 50


def test_no_text_is_read_once_there_is_enough() -> None:
    texts = iter([[tuple(range(10 * number, 10 * number + 10))] for number in range(9)])
    take(texts, 30)
    assert len(list(texts)) == 6


def test_what_all_texts_begin_with_is_taken_once() -> None:
    system = tuple(range(8))
    taken = take([[system, (number, *range(8))] for number in range(20, 24)], 1000)
    assert taken.count(system) == 1
    assert len(taken) == 5


def test_origins_are_counted() -> None:
    both = Sequences.joined(
        [Sequences.of("a", "0", [[1] * 9, [2] * 8]), Sequences.of("b", "1", [[3] * 8])]
    )
    assert both.tokens == 25
    assert [(o.name, o.sequences, o.tokens) for o in both.origins] == [("a", 2, 17), ("b", 1, 8)]
    assert both.ids[2] == (3,) * 8
