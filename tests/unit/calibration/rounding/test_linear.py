"""A linear layer, quantized for its inputs: better than without them, and sound for any inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.calibration.rounding import linear
from qdeploy.calibration.rounding.linear import Moments, Problem, Rows
from qdeploy.errors import CheckpointError
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import DType, Precision
from qdeploy.quantization.quantized import Quantized
from tests.support.layers import Floats, inputs, losses, moments, weights

DTYPES: tuple[DType, ...] = ("int4", "int8")
PRECISIONS = [
    Precision(dtype=d, symmetric=s, group_size=g)
    for d, s, g in product(DTYPES, (False, True), (32, -1))
]
EVERY = pytest.mark.parametrize("precision", PRECISIONS, ids=str)
INT4 = Precision(dtype="int4", group_size=32)


def solved(second: Floats, weight: Floats, precision: Precision = INT4) -> Rows:
    return Problem(Moments(second, None), precision).rows(weight)


def loss(found: Quantized, target: Floats, second: Floats) -> float:
    return float(losses(found.dequantize() - target, second).sum())


def check(found: Quantized, precision: Precision, weight: Floats) -> None:
    """What `Quantized` promises."""
    assert found.precision == precision
    groups = 1 if precision.group_size == -1 else weight.shape[1] // precision.group_size
    assert found.codes.shape == weight.shape
    assert found.codes.dtype == (np.int8 if precision.symmetric else np.uint8)
    half = 2 ** (precision.bits - 1)
    low, high = (-half, half - 1) if precision.symmetric else (0, 2 * half - 1)
    assert found.codes.size == 0 or (found.codes.min() >= low and found.codes.max() <= high)
    assert found.scales.shape == (len(weight), groups)
    assert found.scales.dtype == np.float16
    assert np.isfinite(found.scales).all()
    assert (found.scales != 0).all()
    if precision.symmetric:
        assert found.zero_points is None
    else:
        assert found.zero_points is not None
        assert found.zero_points.dtype == np.uint8
        assert found.zero_points.shape == found.scales.shape
        assert found.zero_points.max(initial=0) <= high


@EVERY
@settings(deadline=None, max_examples=15)
@given(
    columns=st.sampled_from([32, 160, 288]),
    tokens=st.sampled_from([60, 1000]),
    noise=st.sampled_from([0.05, 0.3, 3.0]),
    seed=st.integers(0, 99),
)
def test_the_loss_is_less_than_that_of_codes_found_without_data(
    precision: Precision, columns: int, tokens: int, noise: float, seed: int
) -> None:
    second = moments(inputs(tokens, columns, seed, noise=noise))
    weight = weights(40, columns, seed)
    rows = solved(second, weight, precision)
    check(rows.quantized, precision, weight)
    free = loss(quantize(weight, precision), weight, second)
    assert rows.loss < free * (0.7 if noise < 1 else 1.0)
    energy = losses(weight, second).sum()
    assert rows.energy == pytest.approx(energy, rel=1e-4)
    assert rows.loss == pytest.approx(
        loss(rows.quantized, weight, second), rel=1e-2, abs=1e-6 * energy
    )


@EVERY
def test_with_unrelated_inputs_of_one_size_it_is_no_worse_than_without_data(
    precision: Precision,
) -> None:
    weight = weights(30, 128)
    second = np.eye(128, dtype=np.float32)
    rows = solved(second, weight, precision)
    assert rows.loss <= loss(quantize(weight, precision), weight, second)


@EVERY
@pytest.mark.parametrize("tokens", [1, 3])
def test_few_or_repeated_tokens_give_sound_codes(precision: Precision, tokens: int) -> None:
    x = np.repeat(inputs(tokens, 96), 10, axis=0)
    weight = weights(10, 96)
    rows = solved(moments(x), weight, precision)
    check(rows.quantized, precision, weight)
    assert 0 <= rows.loss <= loss(quantize(weight, precision), weight, moments(x))
    # all that the tokens do not tell about is still near the weights
    off = rows.quantized.dequantize() - weight
    assert np.square(off).mean() < np.square(weight).mean() * 0.05


@EVERY
def test_inputs_that_are_always_zero(precision: Precision) -> None:
    x = inputs(200, 128)
    x[:, :32] = 0
    x[:, 70::7] = 0
    weight = weights(20, 128)
    rows = solved(moments(x), weight, precision)
    check(rows.quantized, precision, weight)
    assert rows.loss < loss(quantize(weight, precision), weight, moments(x))
    off = rows.quantized.dequantize()[:, :32] - weight[:, :32]
    assert np.square(off).mean() < np.square(weight).mean() * 0.05


@EVERY
def test_without_any_input_codes_are_those_found_without_data(precision: Precision) -> None:
    weight, nothing = weights(5, 64), np.zeros((64, 64), np.float32)
    rows = Problem(Moments(nothing, nothing.copy()), precision).rows(weight, weight.copy())
    assert (rows.loss, rows.energy) == (0, 0)
    np.testing.assert_array_equal(
        rows.quantized.dequantize(), quantize(weight, precision).dequantize()
    )


@EVERY
def test_rows_of_zeros_and_no_rows_at_all(precision: Precision) -> None:
    second = moments(inputs(100, 64))
    nothing = np.zeros((3, 64), np.float32)
    rows = solved(second, nothing, precision)
    check(rows.quantized, precision, nothing)
    assert not rows.quantized.dequantize().any()
    assert (rows.loss, rows.energy) == (0, 0)
    check(solved(second, nothing[:0], precision).quantized, precision, nothing[:0])


@pytest.mark.parametrize("magnitude", [1e-12, 1e-6, 1e6])
@pytest.mark.parametrize("size", [1e-6, 1e4])
def test_sizes_of_weights_and_inputs_matter_little(magnitude: float, size: float) -> None:
    second = moments(inputs(300, 128)) * np.float32(magnitude)
    weight = weights(20, 128) * np.float32(size)
    rows = solved(second, weight)
    check(rows.quantized, INT4, weight)
    # scales of tiny weights are subnormal, so those have few digits
    assert rows.loss < loss(quantize(weight, INT4), weight, second)


@settings(deadline=None, max_examples=10)
@given(cuts=st.sets(st.integers(1, 49), max_size=4), chunk=st.sampled_from([20, 512]))
def test_rows_are_independent_of_the_calls_they_come_in(cuts: set[int], chunk: int) -> None:
    x, weight = inputs(300, 160), weights(50, 160)
    cross, owed = moments(inputs(300, 160, 1) + x, x), weights(50, 160, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "CHUNK", chunk)
        problem = Problem(Moments(moments(x), cross), INT4)
        whole = problem.rows(weight, owed)
        edges = [0, *sorted(cuts), 50]
        spans = [slice(*edge) for edge in pairwise(edges)]
        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(lambda span: problem.rows(weight[span], owed[span]), spans))
    # products of other shapes add in another order, which changes a row where a code is near a tie
    joined = np.concatenate([part.quantized.dequantize() for part in parts])
    same = (joined == whole.quantized.dequantize()).all(axis=1)
    assert same.mean() > 0.5
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=0.02)
    assert sum(part.energy for part in parts) == pytest.approx(whole.energy, rel=1e-4)


def drifted(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """W, what the float model feeds it, what the quantized one does, and the missing residual."""
    random = np.random.default_rng(seed)
    weight, x_float = weights(48, 96, seed), inputs(2000, 96, seed)
    mixing = np.eye(96) + 0.05 * random.standard_normal((96, 96))
    noise = 0.1 * random.standard_normal(x_float.shape)
    x = np.asarray(x_float @ mixing + noise, np.float32)
    residual = (x - x_float) @ weights(48, 96, seed + 1).T * np.float32(0.5)
    return weight, x_float, x, np.asarray(residual, np.float32)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_the_correction_makes_up_for_other_inputs_and_a_residual(
    precision: Precision, seed: int
) -> None:
    weight, x_float, x, residual = drifted(seed)
    wanted = x_float @ weight.T + residual

    def error(found: Quantized) -> float:
        return float(np.square(wanted - x @ found.dequantize().T, dtype=np.float64).mean())

    second, cross = moments(x), moments(x_float, x)
    owed = np.asarray(residual.T @ x / np.float32(len(x)), np.float32)
    plain = error(Problem(Moments(second, None), precision).rows(weight).quantized)
    inputs_only = error(Problem(Moments(second, cross.copy()), precision).rows(weight).quantized)
    owed_only = error(Problem(Moments(second, None), precision).rows(weight, owed).quantized)
    both = error(Problem(Moments(second, cross), precision).rows(weight, owed).quantized)
    assert both < min(inputs_only, owed_only)
    assert max(inputs_only, owed_only) < plain
    assert both < 0.7 * plain


def test_weights_and_moments_that_share_no_memory_stay_as_they_are() -> None:
    weight, second = weights(10, 64), moments(inputs(100, 64))
    owed = weights(10, 64, seed=1)
    before = weight.copy(), second.copy(), owed.copy()
    Problem(Moments(second, second * 2), INT4).rows(weight, owed)
    for now, then in zip((weight, second, owed), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    weight, second = weights(4, 64), moments(inputs(100, 64))
    problem = Problem(Moments(second, None), INT4)
    broken, worse = weight.copy(), second.copy()
    broken[2, 3] = worse[4, 5] = bad
    with pytest.raises(CheckpointError, match="a weight is infinite or not a number") as caught:
        problem.rows(broken, where="q_proj")
    assert caught.value.where == "q_proj"
    for moment in (Moments(worse, None), Moments(second, worse)):
        with pytest.raises(CheckpointError, match="activations are infinite") as caught:
            Problem(moment, INT4, where="q_proj")
        assert (caught.value.where, bool(caught.value.fix)) == ("q_proj", True)
    with pytest.raises(CheckpointError, match="activations are infinite"):
        problem.rows(weight, broken, where="q_proj")


def test_a_target_too_large_for_float16_scales_names_the_tensor() -> None:
    problem = Problem(Moments(moments(inputs(100, 64)), None), INT4)
    with pytest.raises(CheckpointError, match="too large for float16 scales") as caught:
        problem.rows(weights(2, 64) * np.float32(1e12), where="q_proj")
    assert caught.value.where == "q_proj"


@pytest.mark.parametrize("precision", [Precision(dtype="fp8"), Precision(dtype="nf4")], ids=str)
def test_only_integers_are_calibrated(precision: Precision) -> None:
    with pytest.raises(ValueError, match="not made of integers"):
        Problem(Moments(np.eye(64, dtype=np.float32), None), precision)


def test_groups_divide_the_columns() -> None:
    with pytest.raises(ValueError, match="does not divide 48 columns"):
        Problem(Moments(np.eye(48, dtype=np.float32), None), INT4)
