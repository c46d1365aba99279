"""Second moments: sums over tokens, with weights, of some rows, in panels, mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.calibration.arrays import Pair
from qdeploy.calibration.layers import moments
from qdeploy.calibration.layers.moments import add_up, mixed, second_moments
from qdeploy.calibration.rounding.linear import Moments

Floats = NDArray[np.float32]


def draw(tokens: int, columns: int, seed: int = 0) -> Pair:
    random = np.random.default_rng(seed)
    rounded = random.standard_normal((tokens, columns), np.float32)
    drift = random.standard_normal((tokens, columns), np.float32) / np.float32(8)
    return Pair(np.asarray(rounded + drift, np.float32), rounded)


def wanted(inputs: Pair, weights: Floats) -> tuple[Floats, Floats]:
    """H and C in float64."""
    exact, rounded = (x.astype(np.float64) for x in inputs.both)
    total = weights.sum(dtype=np.float64)
    second, cross = ((x * weights[:, None]).T @ rounded / total for x in (rounded, exact))
    return second.astype(np.float32), cross.astype(np.float32)


@given(st.integers(1, 40), st.integers(1, 70), st.booleans(), st.integers(0, 9))
def test_means_over_tokens(tokens: int, columns: int, weighted: bool, seed: int) -> None:
    inputs = draw(tokens, columns, seed)
    weights = np.random.default_rng(seed).random(tokens, np.float32) + np.float32(0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "PANEL", 16)
        patch.setattr(moments, "TOKENS", 7)
        found = add_up(inputs, weights if weighted else None).mean()
    second, cross = wanted(inputs, weights if weighted else np.ones(tokens, np.float32))
    assert np.allclose(found.second, second, atol=1e-5)
    assert found.cross is not None
    assert np.allclose(found.cross, cross, atol=1e-5)
    assert np.array_equal(found.second, found.second.T)


@pytest.mark.parametrize("weighted", [False, True])
def test_of_one_model_they_are_those_of_both(weighted: bool) -> None:
    inputs = draw(20, 8)
    weights = np.linspace(0.5, 2, 20, dtype=np.float32) if weighted else None
    assert np.array_equal(
        second_moments(inputs.rounded, weights), add_up(inputs, weights).mean().second
    )


def test_of_some_tokens() -> None:
    inputs, rows = draw(20, 8), np.array([3, 5, 19])
    weights = np.array([1, 2, 4], np.float32)
    some = Pair(*(x[rows] for x in inputs.both))
    assert np.allclose(add_up(inputs, weights, rows).mean().second, wanted(some, weights)[0])


def test_without_any_token_they_are_zero() -> None:
    found = add_up(draw(4, 8), np.empty(0, np.float32), np.empty(0, np.intp)).mean()
    assert not found.second.any()
    alone = second_moments(np.empty((0, 4), np.float32))
    assert alone.shape == (4, 4)
    assert not alone.any()


@pytest.mark.parametrize("count", [8, 32])
def test_few_tokens_are_mixed_with_others(count: int) -> None:
    """As if the others were so many tokens more."""
    own, others = draw(8, 6), draw(count, 6, seed=1)
    both = Pair(*(np.concatenate(x) for x in zip(own.both, others.both, strict=True)))
    found = mixed(add_up(own), add_up(others).mean(), count)
    assert np.allclose(found.second, add_up(both).mean().second, atol=1e-5)
    whole = add_up(both).mean()
    assert found.cross is not None
    assert whole.cross is not None
    assert np.allclose(found.cross, whole.cross, atol=1e-5)


def test_moments_of_one_model_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="float model"):
        mixed(add_up(draw(4, 4)), Moments(np.eye(4, dtype=np.float32), None), 1)
