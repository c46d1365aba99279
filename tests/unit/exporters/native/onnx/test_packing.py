"""The bytes of quantized weights in ONNX files against a slow, readable version."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.exporters.native.onnx.packing import Blocks, block_size
from qdeploy.exporters.native.onnx_static.packing import Rows
from qdeploy.exporters.native.weights_file.packing import Encoding, Parts
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import PER_CHANNEL, Precision
from qdeploy.quantization.quantized import Quantized


@st.composite
def weights(draw: Any) -> Quantized:
    """A quantized weight of any form that the plan can ask for."""
    group = draw(st.sampled_from([PER_CHANNEL, 16, 32]))
    columns = draw(st.integers(1, 80)) if group == PER_CHANNEL else group * draw(st.integers(1, 5))
    precision = Precision(
        dtype=draw(st.sampled_from(["int4", "int8"])),
        symmetric=draw(st.booleans()),
        group_size=group,
    )
    seed, rows = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 7))
    values = np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)
    return quantize(values, precision)


def bits_of(data: NDArray[Any], bits: int) -> list[int]:
    """Numbers of so many bits, the low ones of each byte first."""
    return [b >> s & (2**bits - 1) for b in data.tobytes() for s in range(0, 8, bits)]


def slow_blocks(weight: Quantized) -> tuple[list[list[int]], list[list[float]], list[list[int]]]:
    """Codes, scales and zero points of every row, block by block, one number at a time."""
    precision, (rows, columns) = weight.precision, weight.codes.shape
    size, bits = block_size(precision, columns), precision.bits
    blocks = -(-columns // size)
    offset = 2 ** (bits - 1) if precision.symmetric else 0
    group = columns // weight.scales.shape[1]
    codes, scales, points = [], [], []
    for n in range(rows):
        row = [int(weight.codes[n, k]) + offset for k in range(columns)]
        codes.append(row + [0] * (blocks * size - columns))
        grouped = precision.group_size != PER_CHANNEL
        firsts = [b * size // group if grouped else 0 for b in range(blocks)]
        scales.append([float(weight.scales[n, g]) for g in firsts])
        if weight.zero_points is not None:
            zeros = [int(weight.zero_points[n, g]) for g in firsts]
            points.append(zeros + [0] * (-len(zeros) % (8 // bits)))
    return codes, scales, points


@given(weights(), st.sampled_from(["float32", "float16"]))
def test_blocks(weight: Quantized, floats: str) -> None:
    codes, scales, points = slow_blocks(weight)
    parts, bits = Blocks(floats).encode(weight), weight.precision.bits
    assert bits_of(parts.codes, bits) == list(chain(*codes))
    assert parts.scales is not None
    assert parts.scales.dtype == floats
    assert parts.scales.tolist() == scales
    if weight.zero_points is None:
        assert parts.zero_points is None
    else:
        assert parts.zero_points is not None
        assert bits_of(parts.zero_points, bits) == list(chain(*points))


def lengths(parts: Parts) -> tuple[int, ...]:
    return tuple(0 if part is None else part.nbytes for part in parts)


@given(weights())
def test_sizes_are_those_of_the_arrays(weight: Quantized) -> None:
    rows, columns = weight.codes.shape
    assert Blocks("float32").sizes(weight.precision, rows, columns) == lengths(
        Blocks("float32").encode(weight)
    )
    if weight.precision.bits == 4 or weight.precision.group_size == PER_CHANNEL:
        assert Rows("float16").sizes(weight.precision, rows, columns) == lengths(
            Rows("float16").encode(weight)
        )


@given(weights(), st.sampled_from([Blocks("float32"), Blocks("float16"), Rows("float32")]))
def test_rows_follow_each_other(weight: Quantized, encoding: Encoding) -> None:
    """A weight that is written in blocks of rows has the bytes of one that is written at once."""
    if isinstance(encoding, Rows) and weight.precision.group_size != PER_CHANNEL:
        return
    rows = len(weight.codes)
    cut = rows // 2 // 2 * 2
    pieces = [encoding.encode(_rows(weight, slice(*ends))) for ends in ((0, cut), (cut, rows))]
    for whole, one, other in zip(encoding.encode(weight), *pieces, strict=True):
        if whole is not None:
            assert one is not None
            assert other is not None
            assert whole.tobytes() == one.tobytes() + other.tobytes()


def _rows(weight: Quantized, rows: slice) -> Quantized:
    points = None if weight.zero_points is None else weight.zero_points[rows]
    return Quantized(weight.precision, weight.codes[rows], weight.scales[rows], points)


INT4 = Precision(dtype="int4", group_size=32)
INT8 = Precision(dtype="int8")


@pytest.mark.parametrize(
    ("encoding", "name", "role", "precision", "reason"),
    [
        (Blocks("float32"), "embed_tokens.weight", "embedding", INT8, "no block divides"),
        (Blocks("float32"), "x.experts.0.up_proj.weight", "linear", INT8, "no block divides"),
        (Rows("float32"), "embed_tokens.weight", "embedding", INT4, "no plain operator"),
        (Rows("float32"), "q_proj.weight", "linear", Precision(dtype="int8", group_size=32),
         "one scale a row"),
    ],
)  # fmt: skip
def test_what_cannot_be_laid_out_says_why(
    encoding: Encoding, name: str, role: Any, precision: Precision, reason: str
) -> None:
    expert = ".experts." in name
    said = encoding.why_not(TensorPlan(name, (8, 40), role, precision, 0, expert))
    assert said is not None
    assert reason in said.reason
    assert name in said.reason
    assert f"set weights.{role}" in str(said.fix)


def test_a_plain_product_takes_rows_that_end_within_a_block() -> None:
    assert (
        Blocks("float32").why_not(TensorPlan("q_proj.weight", (8, 40), "linear", INT8, 0)) is None
    )
