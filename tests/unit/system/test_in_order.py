"""Work on threads: order, bounded memory, errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from qdeploy.system.in_order import in_order


def test_results_come_in_the_order_of_the_items() -> None:
    def late(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(in_order(late, range(20), threads=4)) == [n * n for n in range(20)]


def test_no_items_no_results() -> None:
    assert list(in_order(abs, [])) == []


def test_work_is_done_on_several_threads() -> None:
    together = threading.Barrier(2, timeout=10)  # one thread alone does not pass it
    assert sorted(in_order(lambda n: (together.wait(), n)[1], range(4), threads=2)) == [0, 1, 2, 3]


def test_a_slow_consumer_holds_the_threads_back() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            begun.append(n)
            yield n

    results = in_order(abs, items(), threads=2)
    for taken in range(10):
        assert next(results) == taken
        assert len(begun) <= taken + 4
    results.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_in_its_turn_and_ends_the_work(threads: int) -> None:
    done: list[int] = []

    def fails_at_five(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        done.append(item)
        return item

    results = in_order(fails_at_five, range(1000), threads=threads)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert len(done) < 20


def test_no_thread_outlives_the_iteration() -> None:
    before = threading.active_count()
    results = in_order(lambda n: n, range(100), threads=3)
    next(results)
    results.close()
    assert threading.active_count() == before
