"""Rounding to E4M3: to the nearest number, and a row by its largest weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.errors import CheckpointError
from qdeploy.quantization import e4m3, fp8
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision

PRECISION = Precision(dtype="fp8")
NUMBERS = np.delete(np.arange(256, dtype=np.uint8), [0x7F, 0xFF])
"""All but the two that are not a number."""


def test_a_number_of_the_type_is_its_own_byte() -> None:
    np.testing.assert_array_equal(e4m3.encode(e4m3.values()[NUMBERS]), NUMBERS)


def test_halfway_is_to_the_even_one() -> None:
    positive = NUMBERS[NUMBERS < 0x7F]
    low, high = (e4m3.values()[part] for part in (positive[:-1], positive[1:]))
    even = np.where(positive[:-1] % 2 == 0, positive[:-1], positive[1:])
    middle = np.divide(low + high, 2, dtype=np.float32)
    np.testing.assert_array_equal(e4m3.encode(middle), even)
    np.testing.assert_array_equal(e4m3.encode(-middle), even | 0x80)
    for end, nearest in ((low, positive[:-1]), (high, positive[1:])):
        beside = np.nextafter(middle, end).astype(np.float32)
        np.testing.assert_array_equal(e4m3.encode(beside), nearest)


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=50))
def test_the_nearest_number_and_none_above_the_largest(drawn: list[float]) -> None:
    numbers = np.array(drawn, np.float32)
    found = e4m3.values()[e4m3.encode(numbers)]
    every = e4m3.values()[NUMBERS].astype(np.float64)
    nearest = np.abs(every[:, None] - numbers).min(axis=0)
    np.testing.assert_array_equal(np.abs(found - numbers.astype(np.float64)), nearest)
    assert np.abs(found).max() <= 448


def test_a_row_has_a_scale_of_its_own_and_zeros_the_scale_one() -> None:
    weight = np.random.default_rng(0).standard_normal((9, 40), np.float32)
    weight *= np.logspace(-30, 30, 9, dtype=np.float32)[:, None]
    weight[4] = 0
    made = quantize(weight, PRECISION)
    largest = np.abs(weight).max(axis=1)
    np.testing.assert_array_equal(
        made.scales[:, 0], np.where(largest > 0, largest / np.float32(448), 1)
    )
    error = np.abs(made.dequantize() - weight)
    assert (error <= np.maximum(np.abs(weight) * 2**-4, largest[:, None] * 2**-18)).all()
    assert made.zero_points is None


def test_any_cut_into_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).standard_normal((9, 40), np.float32)
    whole = quantize(weight, PRECISION)
    monkeypatch.setattr(fp8, "CHUNK", 100)
    parts = quantize(weight, PRECISION)
    np.testing.assert_array_equal(parts.codes, whole.codes)
    np.testing.assert_array_equal(parts.scales, whole.scales)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    weight = np.ones((4, 16), np.float32)
    weight[2, 3] = value
    with pytest.raises(CheckpointError, match="infinite or not a number") as caught:
        quantize(weight, PRECISION, where="it")
    assert caught.value.where == "it"
