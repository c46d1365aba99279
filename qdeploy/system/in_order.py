"""Runs work on several threads with results in order. NumPy releases the GIL while it computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from qdeploy.system.threads import usable_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in the order of *items*, made by *threads* threads.

    At most two items for each thread are in progress or waiting, so with a slow consumer the
    threads pause and memory is bounded. *threads* defaults to `usable_threads`. An error in *work*
    is raised in the order of its item. All threads have ended when the iteration ends.
    """
    threads = threads or usable_threads()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) == 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
