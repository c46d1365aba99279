"""Codes are packed as compressed-tensors packs them, whole or a few rows at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.exporters.native.safetensors.packing import (
    Bytes,
    SmallFloatBlocks,
    SmallFloats,
    Stored,
    Words,
)
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import BLOCK, PER_CHANNEL, Precision
from qdeploy.quantization.quantized import Quantized
from tests.support import quantized as q

PRECISIONS = st.builds(
    Precision,
    dtype=st.sampled_from(["int4", "int8"]),
    symmetric=st.booleans(),
    group_size=st.sampled_from([PER_CHANNEL, 16, 32]),
)


@given(PRECISIONS, st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_words_and_their_blocks(precision: Precision, rows: int, groups: int, seed: int) -> None:
    columns = 32 * groups
    values = np.random.default_rng(seed).standard_normal((rows, columns), np.float32)
    made = quantize(values, precision)
    encoding, bits = Words("float32"), precision.bits
    whole = encoding.encode(made)
    middle = 2 ** (bits - 1) if precision.symmetric else 0
    wanted = q.words(made.codes.astype(np.int64) + middle, bits, 1).data
    np.testing.assert_array_equal(whole.codes.view(np.uint32), wanted)
    assert whole.scales is made.scales
    assert (whole.zero_points is None) == precision.symmetric
    if made.zero_points is not None and whole.zero_points is not None:
        points = q.words(made.zero_points.astype(np.int64), bits, 0).data
        np.testing.assert_array_equal(whole.zero_points.view(np.uint32), points)
    check_blocks(encoding, values, precision)


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_bytes_and_their_blocks(rows: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((rows, columns), np.float32)
    precision = Precision(dtype="int8", symmetric=True)
    encoding = Bytes("float32")
    made = quantize(values, precision)
    np.testing.assert_array_equal(encoding.encode(made).codes, made.codes)
    check_blocks(encoding, values, precision)


@given(st.integers(1, 600), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_small_floats(rows: int, across: int, blocks: bool, seed: int) -> None:
    generator, columns = np.random.default_rng(seed), BLOCK * across
    precision = Precision(dtype="fp8")
    grid = generator.standard_normal((rows, 1), np.float32)
    if blocks:
        precision = precision.model_copy(update={"group_size": BLOCK})
        grid = generator.standard_normal((-(-rows // BLOCK), across), np.float32)
    scales = grid.repeat(BLOCK, axis=0)[:rows] if blocks else grid
    made = Quantized(precision, generator.integers(0, 127, (rows, columns), np.uint8), scales, None)
    encoding = (SmallFloatBlocks if blocks else SmallFloats)("float32")
    whole = encoding.encode(made, "float32")
    np.testing.assert_array_equal(whole.codes, made.codes)
    np.testing.assert_array_equal(whole.scales, grid)
    sizes = encoding.sizes(precision, rows, columns, "float32")
    assert sizes == (whole.codes.nbytes, grid.nbytes, 0)


def check_blocks(encoding: Stored, values: np.ndarray, precision: Precision) -> None:
    """The parts of blocks of rows, at the offsets that `sizes` gives, are those of the whole."""
    rows, columns = values.shape
    whole = [
        part.tobytes() for part in encoding.encode(quantize(values, precision)) if part is not None
    ]
    sizes = encoding.sizes(precision, rows, columns)
    assert [size for size in sizes if size] == [len(part) for part in whole]
    written = [bytearray(len(part)) for part in whole]
    for start in range(0, rows, encoding.step):
        parts = encoding.encode(quantize(values[start : start + encoding.step], precision))
        before = encoding.sizes(precision, start, columns)
        found = [(o, p.tobytes()) for o, p in zip(before, parts, strict=True) if p is not None]
        for target, (offset, content) in zip(written, found, strict=True):
            target[offset : offset + len(content)] = content
    assert written == whole


@pytest.mark.parametrize("encoding", [Words, Bytes])
def test_entries_are_typed_by_their_floats(encoding: type[Stored]) -> None:
    precision = Precision(dtype="int8", symmetric=True)
    entries = encoding("bfloat16").entries(precision, 6, 16, "float32")
    assert entries.scales
    assert (entries.scales.dtype, entries.scales.shape) == ("F32", (6, 1))
    assert entries.zero_points is None
