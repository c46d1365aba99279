"""Even choices, of lists and of streams."""

from __future__ import annotations

from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from qdeploy.calibration.texts.even import EvenSample, even_order


@given(count=st.integers(0, 300), seed=st.integers(0, 2**32 - 1))
def test_every_number_comes_once(count: int, seed: int) -> None:
    assert sorted(even_order(count, seed)) == list(range(count))


@given(count=st.integers(1, 5000), share=st.floats(0.01, 1), seed=st.integers(0, 2**32 - 1))
def test_any_beginning_is_spread_over_all(count: int, share: float, seed: int) -> None:
    some = max(1, int(count * share))
    taken = sorted(islice(even_order(count, seed), some))
    gaps = [after - before for before, after in pairwise([*taken, taken[0] + count])]
    assert max(gaps) <= 4 * -(-count // some)


def test_a_seed_chooses_others() -> None:
    first = {next(iter(even_order(1000, seed))) for seed in range(20)}
    assert len(first) > 10


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=400), most=st.integers(1, 2000))
def test_a_stream_is_kept_at_equal_distances_in_bounded_memory(sizes: list[int], most: int) -> None:
    sample = EvenSample[int](most)
    for number, size in enumerate(sizes):
        sample.add(number, size)
    assert sum(sizes[number] for number in sample.items) <= max(most, 50)
    assert sample.items[0] == 0
    assert len({after - before for before, after in pairwise(sample.items)}) <= 1
    if sum(sizes) <= most:
        assert len(sample.items) == len(sizes)


@given(count=st.integers(1, 1000))
def test_a_stream_is_kept_to_its_end(count: int) -> None:
    sample = EvenSample[int](most_bytes=10)
    for number in range(count):
        sample.add(number, 1)
    assert len(sample.items) >= min(count, 5)
    assert count - sample.items[-1] <= max(1, count // 4)
