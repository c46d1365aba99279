"""Bootstrap intervals of a mean KL divergence, and of the difference of two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.evaluate.interval import (
    FEWEST,
    POSITIONS,
    difference_interval,
    mean_interval,
    same_blocks,
    split_blocks,
)
from qdeploy.results import KlBlock

ABOVE = st.floats(1e-6, 10)
BLOCKS = st.lists(
    st.builds(KlBlock, nats=ABOVE, tokens=st.integers(1, 300)), min_size=FEWEST, max_size=12
)


def blocks(*nats: float, tokens: int = 100) -> list[KlBlock]:
    return [KlBlock(nats=value, tokens=tokens) for value in nats]


def mean(of: list[KlBlock]) -> float:
    return sum(b.nats for b in of) / sum(b.tokens for b in of)


@settings(max_examples=20, deadline=None)
@given(BLOCKS)
def test_an_interval_is_reproducible_and_within_the_blocks_means(of: list[KlBlock]) -> None:
    found = mean_interval(of)
    assert found is not None
    assert found == mean_interval(of)
    means = [b.nats / b.tokens for b in of]
    assert min(means) * (1 - 1e-9) <= found[0] <= found[1] <= max(means) * (1 + 1e-9)
    assert found[0] <= mean(of) * (1 + 1e-9)
    assert mean(of) <= found[1] * (1 + 1e-9)


def test_like_blocks_have_an_interval_of_no_width() -> None:
    assert mean_interval(blocks(*[2.0] * 8)) == pytest.approx((0.02, 0.02))


def test_a_text_of_more_passages_has_a_narrower_interval() -> None:
    random = np.random.default_rng(1)
    draws = random.gamma(4, 1, 64).tolist()
    few, many = mean_interval(blocks(*draws[:8])), mean_interval(blocks(*draws))
    assert few is not None
    assert many is not None
    assert many[1] - many[0] < 0.6 * (few[1] - few[0])


def test_intervals_of_eight_passages_hold_the_truth_nearly_always() -> None:
    """Passages of skewed KL: without the expansion by Student's t, about 86% do."""
    random = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        found = mean_interval(blocks(*random.gamma(4, 0.25, 8), tokens=1))
        assert found is not None
        held += found[0] <= 1 <= found[1]
    assert held / 200 > 0.9


def test_few_blocks_have_no_interval() -> None:
    assert mean_interval(blocks(1, 2, 3, 4)) is None
    assert difference_interval(blocks(1, 2), blocks(3, 4)) is None


@settings(max_examples=20, deadline=None)
@given(BLOCKS, ABOVE)
def test_a_difference_is_turned_round_with_its_sides(of: list[KlBlock], by: float) -> None:
    more = [KlBlock(nats=b.nats * by, tokens=b.tokens) for b in of]
    there, back = difference_interval(of, more), difference_interval(more, of)
    assert there is not None
    assert back is not None
    size = mean(of) + mean(more)
    assert there == pytest.approx((-back[1], -back[0]), abs=0.05 * size)


def test_what_is_hard_for_both_does_not_hide_a_difference() -> None:
    """B is a tenth nearer on every passage; the passages differ tenfold."""
    of = blocks(1, 10, 3, 5, 2, 8, 1.5, 9)
    nearer = [KlBlock(nats=0.9 * b.nats, tokens=b.tokens) for b in of]
    one, other, difference = (
        mean_interval(of), mean_interval(nearer), difference_interval(of, nearer),
    )  # fmt: skip
    assert one is not None
    assert other is not None
    assert difference is not None
    assert one[0] < other[1]  # the intervals overlap
    assert difference[1] < 0


def test_results_of_other_blocks_are_not_paired() -> None:
    of = blocks(*range(1, 9))
    assert same_blocks(of, blocks(*range(2, 10)))
    assert not same_blocks(of, of[:-1])
    assert not same_blocks((), ())
    with pytest.raises(ValueError, match="differ"):
        difference_interval(of, of[:-1])


def test_passages_are_the_blocks_where_there_are_enough() -> None:
    passages = [np.full(n, 0.5) for n in (10, 200, 30, 40, 50)]
    assert [b.tokens for b in split_blocks(passages)] == [10, 200, 30, 40, 50]
    assert split_blocks(passages)[1].nats == pytest.approx(100)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=FEWEST - 1))
def test_few_passages_are_split_and_no_position_is_lost(sizes: list[int]) -> None:
    passages = [np.arange(size, dtype=np.float64) for size in sizes]
    found = split_blocks(passages)
    assert sum(b.tokens for b in found) == sum(sizes)
    assert sum(b.nats for b in found) == pytest.approx(sum(p.sum() for p in passages))
    assert all(b.tokens <= 1.5 * POSITIONS for b in found)
