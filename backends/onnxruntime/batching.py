"""Continuous batching: one thread takes all requests through the graph together.

onnxruntime-genai has an `Engine` for several requests, but on the CPU (0.18) a request waits until
all of a batch have ended, four are the most, a prompt takes logits of all its tokens in memory, and
the GIL is held meanwhile. Here a request joins at the next step and leaves with its last token.

A step makes one token for each sequence. Between two steps, prompts go on by a few tokens in all,
so that a long prompt delays the others by little.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from qdeploy.backends.onnxruntime.errors import translated
from qdeploy.backends.onnxruntime.slots import SHORTEST_PASS, Slot, Slots
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Request, Token
from qdeploy.interface.logprobs import token_of
from qdeploy.interface.sampler import Sampler
from qdeploy.interface.schema import SchemaMask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIECE, LONG_PIECE = 64, 512
"""Tokens of prompts between two steps, while requests wait for the next one, and while none does. A
pass of 64 costs hardly more for each token than a longer one."""


@dataclass(eq=False)
class Job:
    """A request on its way.

    Attributes:
        told: its tokens, then None or the error that ended it.
        ended: it holds no slot any more.
        slot: None until it has one.
        last: the newest token, which is not in the cache yet; None while the prompt is read.
    """

    request: Request
    sampler: Sampler
    told: SimpleQueue[Token | Exception | None] = field(default_factory=SimpleQueue)
    ended: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False
    slot: Slot | None = None
    last: int | None = None
    made: int = 0


class Batch:
    """The thread, and the requests that it serves.

    Args:
        slots: as many as requests may come at once.
        where: the device, named in errors.
    """

    def __init__(self, slots: Slots, where: str) -> None:
        self._slots, self._where = slots, where
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="qdeploy-batch", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # the interpreter must not end while the runtime computes

    def generate(self, request: Request, schema: SchemaMask | None) -> Generator[Token, None, None]:
        """Yield a request's tokens. Closing the generator takes it out of the batch.

        A generator that nobody closed is closed by the garbage collector, on any thread. The
        batch's own must not wait for itself.
        """
        job = Job(request, Sampler(request.sampling, request.prompt_ids, schema))
        with self._changed:
            if self._closing:
                raise self._closed()
            self._jobs.append(job)
            self._changed.notify()
        try:
            yield from self._told(job)
        finally:
            job.cancelled = True
            with self._changed:
                self._changed.notify()
            if threading.current_thread() is not self._thread:
                job.ended.wait()

    def close(self) -> None:
        """End the thread; requests that run end with an error."""
        atexit.unregister(self.close)
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _told(self, job: Job) -> Iterator[Token]:
        while (told := job.told.get()) is not None:
            if isinstance(told, Exception):
                raise told
            yield told

    def _closed(self) -> GenerationFailed:
        return GenerationFailed("the session was closed while it was generating", where=self._where)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._jobs)
                jobs, closing = list(self._jobs), self._closing
            if closing:
                for job in jobs:
                    self._end(job, self._closed())
                return
            for job in jobs:
                if job.cancelled:
                    self._end(job)
            stepping = [job for job in self._jobs if job.last is not None]
            self._read_some(PIECE if stepping else LONG_PIECE)
            if stepping:
                self._step(stepping)

    def _read_some(self, tokens: int) -> None:
        """Take about so many tokens of prompts through the graph, those of the first job first."""
        while tokens >= SHORTEST_PASS:
            job = next((job for job in self._jobs if job.last is None), None)
            if job is None:
                return
            tokens -= self._read(job, tokens)

    def _read(self, job: Job, most: int) -> int:
        """Go on with a prompt by a pass; after the last one, draw the first token.

        Returns how many tokens were read. They are *most*, or more where too few would be left.
        """
        prompt = job.request.prompt_ids
        try:
            with translated("generating", where=self._where):
                if job.slot is None:
                    job.slot = self._slots.take(prompt)
                rest = prompt[len(job.slot.tokens) :]
                if len(rest) - most >= SHORTEST_PASS:
                    rest = rest[:most]
                logits = self._slots.feed(job.slot, rest)
        except Exception as error:
            self._end(job, error)
            return 0
        if len(job.slot.tokens) == len(prompt):
            self._draw(job, logits)
        return len(rest)

    def _step(self, jobs: list[Job]) -> None:
        """Make one token for each job. A runtime that fails has failed all of them."""
        try:
            with translated("generating", where=self._where):
                tokens = [(job.slot, job.last) for job in jobs if job.slot and job.last is not None]
                logits = self._slots.step(tokens)
        except Exception as error:
            for job in jobs:
                self._end(job, error)
            return
        for job, row in zip(jobs, logits, strict=True):
            self._draw(job, row)

    def _draw(self, job: Job, logits: NDArray[np.float32]) -> None:
        request = job.request
        try:
            job.last = job.sampler.draw(logits)
            job.told.put(token_of(request, job.last, logits))
        except Exception as error:  # of this request alone, e.g. a schema too complex
            self._end(job, error)
            return
        job.made += 1
        if job.last in request.stop_ids or job.made == request.max_new_tokens:
            self._end(job)

    def _end(self, job: Job, error: Exception | None = None) -> None:
        with self._changed:
            self._jobs.remove(job)
        if job.slot:
            self._slots.release(job.slot, forget=error is not None)
        job.told.put(error)
        job.ended.set()
