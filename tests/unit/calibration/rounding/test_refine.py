"""Error feedback and refinement: no step raises the loss, and each is what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.calibration.rounding import refine
from qdeploy.calibration.rounding.factor import Factor
from qdeploy.calibration.rounding.feedback import nearest_plane
from qdeploy.calibration.rounding.grid import Steps, search
from qdeploy.calibration.rounding.refine import Solution
from qdeploy.quantization.precision import Precision
from qdeploy.quantization.rounding import Grid
from tests.support.layers import Doubles, Floats, inputs, losses, moments, weights

GRIDS = [Grid.of(Precision(dtype="int4", symmetric=s)) for s in (False, True)]
EVERY = pytest.mark.parametrize("grid", GRIDS, ids=["asymmetric", "symmetric"])


def begun(grid: Grid, second: Floats, size: int, rows: int = 20, seed: int = 0) -> Solution:
    """A solution before its refinement."""
    target = np.ascontiguousarray(weights(rows, len(second), seed).T)
    steps = search(target, second.diagonal().copy(), grid, size)
    integers, gradient = nearest_plane(target, steps, Factor(second), size)
    return Solution(target, integers, steps, second, gradient)


def result(solution: Solution) -> Floats:
    scales = np.repeat(solution.steps.scales, solution.size, axis=0)
    return solution.integers * scales


def true_losses(solution: Solution) -> Doubles:
    return losses((solution.target - result(solution)).T, solution.second)


def readable(target: Floats, steps: Steps, second: Floats, damping: float, size: int) -> Floats:
    """Error feedback in float64, a column at a time: the errors e of the result, [K, R]."""
    order = np.argsort(-second.diagonal(), kind="stable")
    matrix = second[order][:, order] + damping * np.eye(len(second))
    upper = np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    e = np.zeros(target.shape)
    for j, column in enumerate(order):
        group = column // size
        wanted = target[column] + upper[:j, j] @ e[:j] / upper[j, j]
        p = np.rint(wanted / steps.scales[group])
        p = np.clip(p, steps.lows[group], steps.highs[group])
        e[j] = target[column] - p * steps.scales[group]
    return e[np.argsort(order)].astype(np.float32)


@EVERY
@pytest.mark.parametrize(("columns", "size"), [(64, 16), (320, 64), (300, 300)])
def test_feedback_is_that_of_a_readable_version(grid: Grid, columns: int, size: int) -> None:
    second = moments(inputs(500, columns))
    solution = begun(grid, second, size)
    e = readable(solution.target, solution.steps, second, Factor(second).damping, size)
    # a number halfway between two codes may be rounded either way, which changes what follows
    assert (np.abs(e - solution.errors).max(axis=0) < 1e-5).mean() > 0.7
    assert losses(e.T, second).sum() == pytest.approx(true_losses(solution).sum(), rel=0.02)
    wanted = second.astype(np.float64) @ solution.errors
    np.testing.assert_allclose(solution.gradient, wanted, atol=1e-5 * np.abs(second).max())


@EVERY
@settings(deadline=None, max_examples=30)
@given(
    columns=st.sampled_from([32, 128, 320]),
    size=st.sampled_from([16, 32, -1]),
    tokens=st.sampled_from([1, 50, 1000]),
    seed=st.integers(0, 99),
)
def test_no_step_raises_the_loss_of_a_row(
    grid: Grid, columns: int, size: int, tokens: int, seed: int
) -> None:
    second = moments(inputs(tokens, columns, seed))
    solution = begun(grid, second, columns if size == -1 else size, seed=seed)
    # H is rounded to float32, so losses have errors of up to half of this size: at rank one
    noise = 1e-5 * losses(solution.target.T, second).max()
    for _ in range(2):
        before = true_losses(solution)
        told = solution.refit()
        refitted = true_losses(solution)
        assert (refitted <= before + noise).all()
        np.testing.assert_allclose(told, refitted, atol=2 * noise)
        told += solution.descend(last=False)
        descended = true_losses(solution)
        assert (descended <= refitted + noise).all()
        np.testing.assert_allclose(told, descended, atol=2 * noise)
        assert (solution.integers >= np.repeat(solution.steps.lows, solution.size, axis=0)).all()
        assert (solution.integers <= np.repeat(solution.steps.highs, solution.size, axis=0)).all()
        scales = solution.steps.scales
        assert np.isfinite(scales).all()
        assert (scales != 0).all()
        assert (scales == scales.astype(np.float16)).all()


@EVERY
def test_descending_ends_where_no_other_code_is_better(grid: Grid) -> None:
    second = moments(inputs(500, 160))
    solution = begun(grid, second, 32)
    for _ in range(50):
        last = solution.integers.copy()
        solution.descend(last=False)
        if (solution.integers == last).all():
            break
    else:
        pytest.fail("the integers still change after 50 visits")
    scales, lows, highs = (np.repeat(part, 32, axis=0) for part in solution.steps)
    gradient = second.astype(np.float64) @ solution.errors
    for step in (-1, 1):
        allowed = (solution.integers + step >= lows) & (solution.integers + step <= highs)
        move = -step * scales
        change = move * (2 * gradient + move * second.diagonal()[:, None])
        assert (change[allowed] > -1e-6 * losses(solution.target.T, second).max()).all()


@EVERY
def test_scales_are_found_again(grid: Grid) -> None:
    """Of a matrix that lies on a grid, its own scales have no loss at all."""
    second = moments(inputs(1000, 256))
    solution = begun(grid, second, 64)
    solution.target[:] = result(solution)
    exact = solution.steps.scales.copy()
    wrong = np.random.default_rng(0).uniform(0.9, 1.1, exact.shape) * exact
    solution.steps.scales[:] = wrong.astype(np.float16)
    solution.errors[:] = solution.target - result(solution)
    solution.gradient[:] = second @ solution.errors
    solution.refit()
    # to a step of float16, as the ridge is small
    np.testing.assert_allclose(solution.steps.scales, exact, rtol=2e-3)


@EVERY
def test_rows_are_refitted_in_parts_where_there_are_many_groups(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = moments(inputs(500, 256))
    whole, parts = begun(grid, second, 16), begun(grid, second, 16)
    told = whole.refit()
    monkeypatch.setattr(refine, "SYSTEMS", 3 * 16**2)
    monkeypatch.setattr(refine, "SOLVED", 2 * 16**2)
    monkeypatch.setattr(refine, "TILE", 20 * 5)
    np.testing.assert_allclose(parts.refit(), told, rtol=1e-3)
    np.testing.assert_allclose(parts.steps.scales, whole.steps.scales, rtol=0.01)
