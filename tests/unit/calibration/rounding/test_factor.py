"""The triangular factor against the matrix that it is of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.calibration.rounding.factor import DAMPING, Factor
from qdeploy.errors import CheckpointError
from tests.support.layers import Floats, inputs, moments, weights

SIZES = st.sampled_from([1, 16, 127, 128, 129, 300])


def made(columns: int, tokens: int, dead: int, seed: int) -> Floats:
    x = inputs(tokens, columns, seed)
    x[:, ::-1][:, :dead] = 0
    return moments(x)


seconds = st.builds(
    made, SIZES, st.sampled_from([1, 40, 500]), st.integers(0, 3), st.integers(0, 9)
).filter(np.any)


def damped(factor: Factor, second: Floats) -> Floats:
    """What is factored, float32 [K, K]."""
    ordered = second[factor.order][:, factor.order]
    return ordered + np.float32(factor.damping) * np.eye(len(second), dtype=np.float32)


@settings(deadline=None, max_examples=40)
@given(seconds)
def test_the_factor_is_triangular_and_its_square_the_damped_matrix(second: Floats) -> None:
    factor = Factor(second)
    diagonal = second.diagonal()[factor.order]
    assert (np.diff(diagonal) <= 0).all()
    assert factor.damping == pytest.approx(DAMPING * diagonal.mean(), rel=1e-5)
    upper = np.triu(factor.upper).astype(np.float64)
    assert (upper.diagonal() > 0).all()
    wanted = damped(factor, second)
    np.testing.assert_allclose(upper @ upper.T, wanted, atol=1e-5 * wanted.max())


@settings(deadline=None, max_examples=40)
@given(seconds, st.integers(1, 5))
def test_what_is_solved_gives_the_right_hand_side(second: Floats, rows: int) -> None:
    factor = Factor(second)
    right = weights(len(second), rows)
    x = right.copy()
    factor.solve(x)
    np.testing.assert_allclose(damped(factor, second) @ x, right, atol=1e-3 * np.abs(right).max())


@settings(deadline=None, max_examples=40)
@given(seconds)
def test_products_leave_out_the_damping(second: Floats) -> None:
    factor = Factor(second)
    x = weights(len(second), 3)
    ordered = second[factor.order][:, factor.order].astype(np.float64)
    gradient = ordered @ x
    product = np.triu(factor.upper).T @ x
    factor.complete(product, x)
    scale = second.max() * np.abs(x).max() * len(x) ** 0.5
    np.testing.assert_allclose(product, gradient, atol=1e-5 * scale)
    assert factor.energy(x) == pytest.approx((x * gradient).sum(), rel=1e-4, abs=1e-5 * scale)


def test_more_damping_helps_a_matrix_that_is_not_positive_definite() -> None:
    second = np.eye(64, dtype=np.float32)
    second[0, 1] = second[1, 0] = 1.5
    factor = Factor(second)
    upper = np.triu(factor.upper)
    np.testing.assert_allclose(upper @ upper.T, damped(factor, second), atol=1e-5)


def test_a_matrix_far_from_positive_definite_is_refused() -> None:
    second = np.eye(64, dtype=np.float32)
    second[0, 1] = second[1, 0] = 1e6
    with pytest.raises(CheckpointError, match="not positive definite") as caught:
        Factor(second, where="model.layers.3.mlp.down_proj")
    assert caught.value.where == "model.layers.3.mlp.down_proj"
    assert caught.value.fix
