"""Whether the runtime works: asked of it, once an answer has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import closing

from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.deploy.loaded_models.encoder import EncoderModel
from qdeploy.deploy.loaded_models.model import Model
from qdeploy.interface import Request
from qdeploy.serving.queue import Queue
from qdeploy.serving.work import Works

TEXT = "Is there anybody?"


class Probe:
    """Remembers whether the last work failed, and asks the model for a token if so.

    A runtime may break for good, or for one request alone, and an engine may be started again. A
    load balancer that sends nothing more to a server that is not ready would never find out.
    """

    def __init__(self, model: Model, queue: Queue) -> None:
        self._model, self._queue = model, queue
        self._failed, self._asking = False, asyncio.Lock()

    def told(self, *, failed: bool) -> None:
        """Remember how a work ended."""
        self._failed = failed

    async def is_well(self) -> bool:
        """Whether the model answers.

        Raises:
            ApiError: the queue is full or closed, so that it cannot be asked.
        """
        async with self._asking:  # several who ask now get the answer to one question
            if self._failed:
                works = Works[None](1)
                with self._queue.reserve(1):
                    works.each[0].give(self._ask)
                    self._queue.submit(works.each)
                try:
                    async for _ in works.batches():
                        pass
                except Exception:
                    return False
                self._failed = False
        return True

    def _ask(self) -> Generator[None, None, None]:
        model = self._model
        ids = tuple(model.tokenizer.encode(TEXT))
        if isinstance(model, ChatModel):
            with closing(model.session.generate(Request(ids, 1))) as tokens:
                for _ in tokens:
                    yield
        elif isinstance(model, EncoderModel):
            model.encode([ids])
            yield
