"""The factors of one site: they even out what makes rounding worse, and nothing else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from qdeploy.calibration.smoothing.factors import factors
from qdeploy.calibration.smoothing.search import Choice, choose, exponent_limits
from qdeploy.calibration.smoothing.sites import Site
from qdeploy.errors import CheckpointError
from qdeploy.quantization.inputs import HALF_RANGE, round_by_token, round_to
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision
from tests.support.layers import Floats, inputs, weights

SITE = Site(("w",), None, ("norm",))
INT8 = Precision(dtype="int8", symmetric=True)
COLUMNS = 96
FREE = np.full(COLUMNS, -10, np.int8), np.full(COLUMNS, 10, np.int8)


def chosen(x: Floats, weight: Floats, *, static: bool = False, limited: bool = False) -> Choice:
    blocks = [partial(lambda part: part, part) for part in np.split(weight, 4)]
    limits = None if limited else FREE
    return choose(SITE, x, blocks, limits, importance=None, static=static)


def output_error(x: Floats, weight: Floats, choice: Choice) -> float:
    """Mean squared error of the outputs, both sides rounded as a runtime does it."""
    s = factors(choice.exponents)
    scaled = np.asarray(x / s, np.float32)
    taken = round_by_token(scaled) if choice.scale is None else round_to(scaled, choice.scale)
    kept = quantize(np.asarray(weight * s, np.float32), INT8).dequantize()
    return float(np.square(taken @ kept.T - x @ weight.T).mean())


def with_outliers(seed: int) -> Floats:
    """A few channels are a hundred times as large as the others."""
    x = inputs(600, COLUMNS, seed)
    x[:, np.random.default_rng(seed).choice(COLUMNS, 3, replace=False)] *= 100
    return x


def gaussian(tokens: int, seed: int = 0) -> Floats:
    values = np.random.default_rng(seed).standard_normal((tokens, COLUMNS))
    return np.asarray(values, np.float32)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_outliers_cost_less(seed: int, static: bool) -> None:
    x, weight = with_outliers(seed), weights(64, COLUMNS, seed)
    plain = chosen(x, weight, static=static, limited=True)
    found = chosen(x, weight, static=static)
    assert not plain.exponents.any()
    assert output_error(x, weight, found) < 0.25 * output_error(x, weight, plain)


@pytest.mark.parametrize("seed", range(3))
def test_even_channels_are_hardly_worse(seed: int) -> None:
    """Where there is nothing to gain, nothing is lost either."""
    x, weight = gaussian(600, seed), weights(64, COLUMNS)
    found, plain = chosen(x, weight), chosen(x, weight, limited=True)
    assert output_error(x, weight, found) < 1.05 * output_error(x, weight, plain)


def test_dead_channels() -> None:
    x, weight = with_outliers(0), weights(64, COLUMNS)
    x[:, 5], weight[:, 7] = 0, 0
    found = chosen(x, weight)
    assert found.exponents[5] == found.exponents[7] == 0
    assert not chosen(np.zeros_like(x), weight).exponents.any()
    assert not chosen(x, np.zeros_like(weight)).exponents.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_activations_that_are_not_finite(bad: float) -> None:
    x = gaussian(50)
    x[7, 3] = bad
    with pytest.raises(CheckpointError, match="infinite or not a number") as raised:
        chosen(x, weights(64, COLUMNS))
    assert raised.value.where == "w"


def test_a_static_scale_clips_what_few_tokens_have() -> None:
    """One huge value in thousands costs less clipped than it costs all others."""
    x, weight = gaussian(4000), weights(64, COLUMNS)
    x[17] *= 1.5
    whole = np.abs(x).max() / HALF_RANGE
    found = chosen(x, weight, static=True, limited=True)
    assert found.scale is not None
    assert found.scale < whole
    assert found.scale.view(np.uint32) & 0xFFFF == 0  # exact in bfloat16
    unclipped = Choice(found.exponents, np.float32(whole))
    assert output_error(x, weight, found) < output_error(x, weight, unclipped)


def test_limits_are_kept() -> None:
    x, weight = with_outliers(1), weights(64, COLUMNS)
    low, high = np.full(COLUMNS, -1, np.int8), np.full(COLUMNS, 2, np.int8)
    found = choose(SITE, x, [lambda: weight], (low, high), importance=None, static=False)
    assert found.exponents.min() >= -1
    assert found.exponents.max() == 2


def test_limits_of_float16() -> None:
    """Divided by any allowed factor, a value that float16 has stays exact there."""
    values = np.array([1, -0.37, 2.0**-13, 2.0**-14, 3e4, 0], np.float16)
    low, high = exponent_limits(values.astype(np.float32))
    for limit in (low, high):
        divided = np.ldexp(values.astype(np.float32), -limit.astype(np.int32))
        assert np.array_equal(divided.astype(np.float16).astype(np.float32), divided)
    assert high[2:4].tolist() == [1, 0]
    assert low[4] == 0
    assert (low[5], high[5]) == (-10, 10)


def test_importance_decides_whose_errors_count() -> None:
    """Channels that are large for unimportant tokens alone are not evened out for the others."""
    x, weight = inputs(600, COLUMNS), weights(64, COLUMNS)
    x[300:, :3] *= 300
    first = np.repeat(np.array([2, 0], np.float32), 300)

    def error(importance: Floats | None) -> float:
        found = choose(SITE, x, [lambda: weight], FREE, importance=importance, static=False)
        return output_error(x[:300], weight, found)

    assert error(first) <= error(None)
