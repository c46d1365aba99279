"""Every data type, checked against the standard library or the specification's tables."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES, widen


def widened(dtype: str, elements: NDArray[np.generic]) -> list[float]:
    out = np.empty(elements.shape, np.float32)
    widen(elements, dtype, out)
    return [float(value) for value in out.reshape(-1)]


def same(found: list[float], wanted: list[float]) -> bool:
    """Whether all bits are equal, except those of NaNs."""
    return [struct.pack("<f", x) for x in found if not math.isnan(x)] == [
        struct.pack("<f", x) for x in wanted if not math.isnan(x)
    ] and list(map(math.isnan, found)) == list(map(math.isnan, wanted))


@given(st.lists(st.integers(0, 0xFFFF), max_size=40))
def test_bfloat16_is_the_upper_half_of_float32(bits: list[int]) -> None:
    wanted = [struct.unpack("<f", bytes((0, 0)) + struct.pack("<H", b))[0] for b in bits]
    assert same(widened("BF16", np.array(bits, "<u2")), wanted)


@given(st.lists(st.integers(0, 0xFFFF), max_size=40))
def test_float16(bits: list[int]) -> None:
    wanted = [struct.unpack("<e", struct.pack("<H", b))[0] for b in bits]
    assert same(widened("F16", np.array(bits, "<u2").view("<f2")), wanted)


@given(st.lists(st.floats(width=32), max_size=40))
def test_float32(values: list[float]) -> None:
    assert same(widened("F32", np.array(values, "<f4")), values)


@given(st.lists(st.floats(), max_size=40))
def test_float64_is_rounded_as_numpy_rounds_it(values: list[float]) -> None:
    with np.errstate(over="ignore"):
        wanted = np.array(values, np.float64).astype(np.float32)
    assert same(widened("F64", np.array(values, "<f8")), [float(x) for x in wanted])


@pytest.mark.parametrize(
    ("byte", "value"),
    [
        (0x00, 0.0), (0x01, 2**-9), (0x07, 7 * 2**-9), (0x08, 2**-6), (0x30, 0.5), (0x38, 1.0),
        (0x39, 1.125), (0x40, 2.0), (0x77, 240.0), (0x78, 256.0), (0x7E, 448.0),
        (0x80, -0.0), (0xB8, -1.0), (0xFE, -448.0),
    ],
)  # fmt: skip
def test_e4m3_values_of_the_standard(byte: int, value: float) -> None:
    """OCP 8-bit Floating Point Specification, table 2, and some between."""
    assert same(widened("F8_E4M3", np.array([byte], np.uint8)), [value])


def test_e4m3_as_a_whole() -> None:
    """Positive bytes ascend in steps that double every eight; negative ones mirror them."""
    every = widened("F8_E4M3", np.arange(256, dtype=np.uint8))
    assert [n for n, value in enumerate(every) if math.isnan(value)] == [0x7F, 0xFF]
    positive, negative = every[:0x7F], every[0x80:0xFF]
    assert np.array_equal(negative, np.negative(positive))
    steps = np.diff(positive)
    wanted = [2.0 ** max(n // 8 - 10, -9) for n in range(0x7E)]
    assert steps.tolist() == wanted


def test_elements_need_not_be_aligned_or_contiguous() -> None:
    raw = np.arange(41, dtype=np.uint8)[1:]
    unaligned = np.frombuffer(raw.tobytes(), "<u2", 10, offset=1)
    assert widened("BF16", unaligned) == widened("BF16", unaligned.copy())
    out = np.empty((4, 10), np.float32)
    widen(raw.reshape(4, 10), "F8_E4M3", out[:, :])
    assert out.tolist() == np.reshape(widened("F8_E4M3", raw.copy()), (4, 10)).tolist()


def test_only_little_endian_types_of_the_right_size() -> None:
    assert {name: dtype.itemsize for name, dtype in NUMPY_DTYPES.items()} == {
        "BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1,
    }  # fmt: skip
