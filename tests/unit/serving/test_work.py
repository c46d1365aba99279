"""Work and its queue, without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest

from qdeploy.serving.errors import ApiError
from qdeploy.serving.queue import Queue
from qdeploy.serving.work import Cancelled, Works


async def read(works: Works[Any]) -> list[Any]:
    found: list[Any] = []
    async for _, items, _ in works.batches():
        found += items
    return found


def count(to: int, error: Exception | None = None) -> Generator[int, None, None]:
    yield from range(to)
    if error is not None:
        raise error


def test_all_items_come_in_order_then_the_end() -> None:
    async def run() -> None:
        works = Works[int](1)
        works.each[0].give(lambda: count(1000))
        thread = threading.Thread(target=works.each[0].run)
        thread.start()
        assert await read(works) == list(range(1000))
        thread.join()

    asyncio.run(run())


def test_an_error_comes_after_the_items_before_it() -> None:
    async def run() -> None:
        works = Works[int](1)
        works.each[0].give(lambda: count(3, ZeroDivisionError()))
        works.each[0].run()
        batches = works.batches()
        assert await anext(batches) == (0, [0, 1, 2], False)
        with pytest.raises(ZeroDivisionError):
            await anext(batches)

    asyncio.run(run())


def test_works_of_one_client_are_told_apart() -> None:
    async def run() -> None:
        works = Works[int](2)
        for place, work in enumerate(works.each):
            work.give(partial(count, place + 1))
            work.run()
        ended = {place: items async for place, items, whole in works.batches() if whole}
        assert ended == {0: [0], 1: [0, 1]}

    asyncio.run(run())


def test_cancelled_work_stops_at_the_next_item_and_closes_its_source() -> None:
    async def run() -> None:
        works, closed = Works[int](1), []
        [work] = works.each

        def source() -> Generator[int, None, None]:
            try:
                for number in range(10):
                    if number == 3:
                        work.cancel()
                    yield number
            finally:
                closed.append(number)

        work.give(source)
        work.run()
        with pytest.raises(Cancelled):
            await read(works)
        assert closed == [3]

    asyncio.run(run())


def test_the_queue_is_first_come_first_served() -> None:
    async def run() -> None:
        queue, order, go = Queue(1, 10), [], threading.Event()

        def source(name: int) -> Generator[int, None, None]:
            go.wait(20)
            order.append(name)
            yield name

        every = [Works[int](1) for _ in range(5)]
        for name, works in enumerate(every):
            works.each[0].give(partial(source, name))
            with queue.reserve(1):
                queue.submit(works.each)
        go.set()
        for works in every:
            await read(works)
        assert order == list(range(5))
        assert queue.close(20)

    asyncio.run(run())


def test_places_that_are_reserved_are_taken_and_come_back() -> None:
    queue = Queue(1, 1)
    with queue.reserve(2):
        assert not queue.idle
        with pytest.raises(ApiError) as caught:
            queue.reserve(1).__enter__()
    assert caught.value.status == 429
    with queue.reserve(2):
        pass
    assert queue.close(20)
