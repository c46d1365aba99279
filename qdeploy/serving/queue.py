"""The queue: first come, first served, by as many threads as the model serves requests at once."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from qdeploy.serving.errors import ApiError
from qdeploy.serving.work import Work

LONGEST_WAIT = 60
"""Most seconds that `Retry-After` names: an estimate gets no better by being longer."""
WEIGHT = 0.2
"""How much the last request counts in the average of how long one takes."""


class Queue:
    """Runs work in threads of its own, and refuses work beyond its places.

    Args:
        workers: how many run at once.
        waiting: how many more may wait.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self.places = workers + waiting
        self._workers = workers
        self._changed = threading.Condition()
        self._waiting: deque[Work[Any]] = deque()
        self._running: set[Work[Any]] = set()
        self._reserved = 0
        self._average = 1.0
        self._closed = self.draining = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"serving-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing runs, waits, or is about to."""
        with self._changed:
            return not (self._running or self._waiting or self._reserved)

    @contextmanager
    def reserve(self, places: int) -> Iterator[None]:
        """Keep so many places while requests are prepared; `submit` within fills them.

        Raises:
            ApiError: there are not so many (429), or the server is stopping (503).
        """
        with self._changed:
            if self.draining:
                raise ApiError(
                    503, "the server is stopping", code="draining", headers={"retry-after": "5"}
                )
            taken = self._reserved + len(self._waiting) + len(self._running)
            if taken + places > self.places:
                raise ApiError(
                    429,
                    f"the queue is full: {self._workers} requests run at once, and "
                    f"{self.places - self._workers} may wait",
                    code="queue_full",
                    headers={"retry-after": str(self._seconds_until_room(taken))},
                )
            self._reserved += places
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= places

    def submit(self, works: Sequence[Work[Any]]) -> None:
        """Add work to the end, within `reserve`."""
        with self._changed:
            for work in works:
                work.queued = perf_counter()
            self._waiting.extend(works)
            self._changed.notify(len(works))

    def drop(self, work: Work[Any], error: Exception | None = None) -> None:
        """Cancel work: at once if it waits, else as soon as its thread looks."""
        work.cancel(error)
        with self._changed:
            if work in self._waiting:
                self._waiting.remove(work)

    def drop_all(self, error: Exception) -> None:
        """Cancel all that runs or waits; who waits for it is told *error*."""
        with self._changed:
            works = [*self._waiting, *self._running]
        for work in works:
            self.drop(work, error)

    def close(self, seconds: float) -> bool:
        """End the threads. Return whether all ended within so many seconds."""
        with self._changed:
            self._closed = self.draining = True
            self._changed.notify_all()
        deadline = perf_counter() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - perf_counter()))
        return not any(thread.is_alive() for thread in self._threads)

    def _seconds_until_room(self, taken: int) -> int:
        rounds = max(1, taken - self._workers) / self._workers
        return max(1, min(LONGEST_WAIT, math.ceil(self._average * rounds)))

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                work = self._waiting.popleft()
                self._running.add(work)
            work.run()
            with self._changed:
                self._running.discard(work)
                took = perf_counter() - work.started
                self._average += WEIGHT * (took - self._average)
