"""Work for one client: iterators that threads run, whose items one coroutine reads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing
from typing import Generic, TypeVar

T = TypeVar("T")


class Cancelled(Exception):
    """The client has left, so nobody reads what the work would make."""


class Work(Generic[T]):
    """An iterator that a worker thread goes through, once.

    Args:
        loop: the event loop that reads the items.
        wake: what the reader waits for.

    Attributes:
        cancelled: nobody needs the rest; the thread stops at the next chance.
        error: why it ended before its time.
        made, queued, started: `perf_counter` seconds at which it was made, put into the queue, and
            begun by a worker.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
        self._loop, self._wake, self._notified = loop, wake, False
        self._items: deque[T] = deque()
        self._source: Callable[[], Generator[T, None, None]] | None = None
        self._ended = False
        self.error: Exception | None = None
        self.cancelled = False
        self.made, self.queued, self.started = time.perf_counter(), 0.0, 0.0

    def give(self, source: Callable[[], Generator[T, None, None]]) -> None:
        """Say what there is to do. The worker calls *source* and iterates over the result."""
        self._source = source

    def cancel(self, error: Exception | None = None) -> None:
        """Ask the thread to stop, from any thread. *error* is raised for who still reads."""
        self.cancelled = True
        self._end(error or Cancelled("the request was cancelled"))

    def run(self) -> None:
        """Do the work, in the calling thread. Errors go to the reader."""
        self.started = time.perf_counter()
        try:
            source = self._source
            if source is not None:
                with closing(source()) as items:
                    for item in items:
                        if self.cancelled:
                            break
                        self._items.append(item)
                        self._notify()
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def take(self) -> tuple[list[T], bool]:
        """What was made since the last time, in order, and whether that was all."""
        self._notified = False  # before the items are taken, so that none goes unnoticed
        ended = self._ended
        return [self._items.popleft() for _ in range(len(self._items))], ended

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self.error, self._ended = error, True
            self._notified = False
            self._notify()

    def _notify(self) -> None:
        """Wake the reader, once for all that it has not read yet."""
        if not self._notified:
            self._notified = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._wake.set)


class Works(Generic[T]):
    """The works of one client, a work for each answer that it wants, read together.

    It is made on the event loop that reads it.
    """

    def __init__(self, count: int) -> None:
        loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self.each = [Work[T](loop, self._wake) for _ in range(count)]

    async def batches(self) -> AsyncIterator[tuple[int, list[T], bool]]:
        """Yield the place of a work, what it made since the last time, and whether that was all.

        Raises:
            Exception: what one of them raised, after all that it made before.
        """
        running = dict(enumerate(self.each))
        while running:
            await self._wake.wait()
            self._wake.clear()
            for place, work in list(running.items()):
                items, ended = work.take()
                whole = ended and work.error is None
                if items or whole:
                    yield place, items, whole
                if ended and work.error is not None:
                    raise work.error
                if ended:
                    del running[place]
