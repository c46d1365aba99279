"""Axes map values to positions, and the numbers of a table are formatted to align."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.report.charts import svg
from qdeploy.report.data.table import LEAST_PLAIN, Badge, Column, decimals, make_table, number

POSITIVE = st.floats(min_value=1e-6, max_value=1e9)
VALUES = st.lists(POSITIVE, min_size=1, max_size=20)


@given(VALUES)
def test_a_linear_axis_starts_at_zero_and_contains_every_value(values: list[float]) -> None:
    scale = svg.from_zero(values, 10, 110)
    assert [scale(0), scale(scale.high)] == pytest.approx([10, 110])
    assert scale.high >= max(values) * (1 - 1e-6)
    assert 3 <= len(scale.ticks) <= 6
    for value in values:
        assert scale(value) - 10 == pytest.approx(100 * value / scale.high)


@given(VALUES)
def test_a_logarithmic_axis_contains_every_value_between_round_ticks(values: list[float]) -> None:
    scale = svg.over_decades(values, 200, 0)
    assert scale.low <= min(values) * (1 + 1e-6)
    assert scale.high >= max(values) * (1 - 1e-6)
    assert all(-1e-6 <= scale(v) <= 200 + 1e-6 for v in values)
    assert 1 <= len(scale.ticks) <= 16
    for mark in scale.ticks:
        leading = mark / 10 ** math.floor(math.log10(mark) + 1e-9)
        assert any(leading == pytest.approx(m) for m in (1, 2, 5))


@given(POSITIVE, POSITIVE)
def test_equal_ratios_have_equal_lengths(one: float, other: float) -> None:
    scale = svg.over_decades([one, other, one * 2, other * 2], 0, 100)
    assert scale(one * 2) - scale(one) == pytest.approx(scale(other * 2) - scale(other), abs=1e-6)


@given(st.text())
def test_any_text_is_escaped_in_a_picture(words: str) -> None:
    allowed = "".join(c for c in words if c.isprintable())
    drawn = svg.picture(9, svg.text(1, 2, allowed, allowed), label=allowed)
    [element] = ElementTree.fromstring(str(drawn))  # noqa: S314
    assert (element.text or "", element.get("class") or "") == (allowed, allowed)


def test_a_name_that_is_too_long_is_truncated() -> None:
    assert svg.fitted("short", 200) == "short"
    assert svg.fitted("x" * 99, 61) == "x" * 9 + "…"
    assert svg.fitted("昇腾" * 9, 61) == "昇腾昇腾…"
    assert svg.fitted("", 61) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.0005, "5e-4"), (0.02, "0.02"), (25, "25"), (2000, "2,000"), (20000, "20k"),
     (5e6, "5,000k"), (2e7, "20M")],
)  # fmt: skip
def test_tick_labels_are_short(value: float, shown: str) -> None:
    assert svg.tick(value) == shown


SHOWN_PLAIN = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) >= LEAST_PLAIN)


@given(st.lists(SHOWN_PLAIN, min_size=1))
def test_a_columns_numbers_have_the_same_decimals(values: list[float]) -> None:
    rows = make_table(("n",), [(value,) for value in values]).formatted()
    assert len({str(cell).partition(".")[2].__len__() for [cell] in rows}) == 1


@pytest.mark.parametrize(
    ("values", "digits"), [([], 0), ([0], 0), ([12, 3], 0), ([51.3], 1), ([51.3, 9.1], 2),
                           ([0.02, 700.5], 4), ([0.001], 5), ([1e-9], 0)],
)  # fmt: skip
def test_the_smallest_number_has_three_digits(values: list[float], digits: int) -> None:
    assert decimals(values) == digits


def test_very_small_numbers_have_an_exponent() -> None:
    rows = make_table(("n",), [(4.9e-05,), (1.8e-12,), (-2.5e-4,), (0.0213,), (0.0,)]).formatted()
    assert [cell for [cell] in rows] == ["4.90e-5", "1.80e-12", "-2.50e-4", "0.0213", "0.0000"]


def test_numbers_have_thousands_separators() -> None:
    assert number(1234567.0) == "1,234,567"


def test_a_column_without_a_value_is_left_out() -> None:
    made = make_table(("a", Column("b", "ms"), "c"), [("x", None, ""), ("y", 1.5, "")])
    assert [str(column) for column in made.columns] == ["a", "b, ms"]
    assert [made.numeric(i) for i in (0, 1)] == [False, True]
    assert made.formatted() == [["x", ""], ["y", "1.50"]]
    assert not make_table(("a",), [])


def test_a_column_with_badges_is_not_numeric() -> None:
    assert not make_table(("a",), [(Badge("device"),)]).numeric(0)
