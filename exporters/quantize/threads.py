"""Work on several threads, its results in order. NumPy frees the interpreter while it computes."""

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

    At most twice as many items as threads are in work or wait to be taken, so a slow consumer
    holds the threads back and memory does not grow. *threads* defaults to
    `usable_threads`. An error in *work* is raised when its turn comes; whatever ends the iteration,
    no thread outlives it.
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
