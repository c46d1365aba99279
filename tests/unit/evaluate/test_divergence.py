"""KL divergence, agreement and perplexity, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.evaluate.divergence import ROWS, Figures, Tally
from qdeploy.evaluate.logits import Logits


def figures(reference: Logits, judged: Logits, following: list[int]) -> Figures:
    tally = Tally()
    tally.add(reference, judged, np.array(following))
    return tally.figures()


def draw(seed: int, rows: int, scale: float = 3.0) -> Logits:
    random = np.random.default_rng(seed)
    return np.asarray(scale * random.standard_normal((rows, 11)), np.float32)


def test_two_tokens_by_hand() -> None:
    p, q = np.log(np.array([[[0.75, 0.25]], [[0.5, 0.5]]], np.float32))
    found = figures(p, q, [1])
    assert found.kl_mean == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6)
    assert found.perplexity == pytest.approx(2)
    assert found.reference_perplexity == pytest.approx(4)
    assert found.perplexity_ratio == pytest.approx(0.5)
    assert found.top1_agreement == 1


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 2 * ROWS + 3))
def test_figures_follow_the_definitions(seed: int, rows: int) -> None:
    p, q = draw(seed, rows), draw(seed + 1, rows)
    a, b = (np.exp(x.astype(np.float64)) for x in (p, q))
    a, b = a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)
    kl = (a * np.log(a / b)).sum(-1)
    following = [row % 11 for row in range(rows)]
    found = figures(p, q, following)
    assert found.kl_mean == pytest.approx(kl.mean())
    assert found.kl_max == pytest.approx(kl.max())
    assert found.kl_p99 == pytest.approx(np.quantile(kl, 0.99))
    assert found.top1_agreement == np.mean(a.argmax(-1) == b.argmax(-1))
    own = b[np.arange(rows), following]
    assert found.perplexity == pytest.approx(np.exp(-np.log(own).mean()))
    assert 0 <= found.kl_mean <= found.kl_max


@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-100, 100))
def test_a_model_has_no_divergence_from_itself_with_shifted_logits(seed: int, shift: float) -> None:
    p = draw(seed, 5)
    found = figures(p, p + np.float32(shift), [0] * 5)
    assert found.kl_max < 1e-9
    assert found.perplexity_ratio == pytest.approx(1, rel=1e-4)


def test_extreme_logits_cause_no_warning() -> None:
    p = np.array([[1e4, -1e4, 0]], np.float32)
    found = figures(p, -p, [0])
    assert found.kl_mean == pytest.approx(2e4)
    assert np.isfinite(found.perplexity)


def test_shapes_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="logits"):
        Tally().add(draw(0, 4), draw(0, 3), np.zeros(4, np.int64))


def test_passages_are_what_the_interval_resamples() -> None:
    tally = Tally()
    sizes = [5, ROWS + 3, 9, 30, 2, 2 * ROWS]
    for number, size in enumerate(sizes):
        tally.add(draw(number, size), draw(number + 99, size), np.zeros(size, np.int64))
    found = tally.figures()
    assert [block.tokens for block in found.kl_blocks] == sizes
    mean = sum(block.nats for block in found.kl_blocks) / sum(sizes)
    assert found.kl_mean == pytest.approx(mean)
    assert found.kl_interval is not None
    low, high = found.kl_interval
    assert low < found.kl_mean < high


def test_a_short_text_has_no_interval() -> None:
    assert figures(draw(0, 40), draw(1, 40), [0] * 40).kl_interval is None
