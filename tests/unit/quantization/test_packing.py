"""Four-bit packing against a simple version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from qdeploy.quantization.packing import pack4, unpack4

shapes = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=7)
unsigned = arrays.arrays(np.uint8, shapes, elements=st.integers(0, 15))
signed = arrays.arrays(np.int8, shapes, elements=st.integers(-8, 7))


def slowly(codes: NDArray[Any]) -> list[int]:
    """One code after another: the first of two into the low half of a byte."""
    found: list[int] = []
    for place, code in enumerate(codes.reshape(-1).tolist()):
        nibble = code % 16  # two's complement
        if place % 2 == 0:
            found.append(nibble)
        else:
            found[-1] += nibble * 16
    return found


@given(unsigned | signed)
def test_packing_is_that_of_the_slow_version(codes: NDArray[Any]) -> None:
    packed = pack4(codes)
    assert packed.dtype == np.uint8
    assert packed.tolist() == slowly(codes)


@given(unsigned | signed)
def test_unpacking_gives_back_what_was_packed(codes: NDArray[Any]) -> None:
    back = unpack4(pack4(codes), codes.shape, symmetric=codes.dtype == np.int8)
    assert back.dtype == codes.dtype
    assert np.array_equal(back, codes)


def test_first_code_lies_in_the_low_half() -> None:
    """What OpenVINO writes for a u4 constant of 1, 2, 3 and an i4 one of -8, 7."""
    assert pack4(np.array([1, 2, 3], np.uint8)).tolist() == [0x21, 0x03]
    assert pack4(np.array([-8, 7], np.int8)).tolist() == [0x78]


@pytest.mark.parametrize("columns", [8, 9])
def test_rows_need_not_lie_side_by_side_in_memory(columns: int) -> None:
    codes = np.arange(4 * columns, dtype=np.uint8).reshape(4, columns) % 16
    assert pack4(codes[:, ::2]).tolist() == slowly(codes[:, ::2].copy())
    assert pack4(codes.T).tolist() == slowly(codes.T.copy())


def test_blocks_with_even_counts_follow_one_another() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (6, 10)).astype(np.uint8)
    assert np.array_equal(np.concatenate([pack4(codes[:2]), pack4(codes[2:])]), pack4(codes))
