"""Weights from energies: a mean of one, and no token that counts for all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qdeploy.calibration.importance.importance import CAP, capped

ENERGIES = arrays(np.float32, st.integers(1, 200), elements=st.floats(0, 1e6, width=32))


@given(ENERGIES)
def test_capped_weights_have_a_mean_of_one_and_the_order_of_the_energies(
    energies: NDArray[np.float32],
) -> None:
    weights = capped(energies)
    assert weights.mean() == pytest.approx(1, rel=1e-4)
    assert (np.diff(weights[np.argsort(energies, kind="stable")]) >= 0).all()


@given(ENERGIES)
def test_no_token_counts_more_than_the_cap_where_enough_others_count(
    energies: NDArray[np.float32],
) -> None:
    weights = capped(energies + 1)
    assert weights.max() <= CAP * (1 + 1e-5)
    below = weights < CAP * (1 - 1e-5)  # these keep their ratios
    ratios = weights[below] / (energies + 1)[below]
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)), rtol=1e-5)


def test_one_token_of_a_huge_energy_is_not_all_that_counts() -> None:
    weights = capped(np.where(np.arange(10_000) == 17, np.float32(1e30), np.float32(1)))
    assert weights[17] == pytest.approx(CAP)
    assert weights[0] == pytest.approx((10_000 - CAP) / 9_999, rel=1e-4)
