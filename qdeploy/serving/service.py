"""What the routes share: the model, its queue, and how a request becomes work for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.deploy.loaded_models.model import Model
from qdeploy.errors import InputError
from qdeploy.generation.pieces import Piece
from qdeploy.interface import Session
from qdeploy.serving import logs
from qdeploy.serving.body import read_json
from qdeploy.serving.errors import ApiError, invalid
from qdeploy.serving.made import Made
from qdeploy.serving.metrics import Metrics
from qdeploy.serving.observed import Observed
from qdeploy.serving.probe import Probe
from qdeploy.serving.queue import Queue
from qdeploy.serving.record import Answered, Record
from qdeploy.serving.settings import Settings
from qdeploy.serving.work import Cancelled, Work, Works

A = TypeVar("A", bound=Made)
T = TypeVar("T")
ROUTES = {
    "generate": "/v1/chat/completions",
    "embed": "/v1/embeddings",
    "rerank": "/v1/rerank",
}
"""The main route of models for each task."""


class Service:
    """A loaded model that many clients share.

    Args:
        model: what is served.
        settings: how.
        concurrency: how many requests the model serves at once.
    """

    def __init__(self, model: Model, settings: Settings, *, concurrency: int) -> None:
        self.model, self.settings, self.concurrency = model, settings, concurrency
        model.tokenizer.encode("")  # reads its files now, and not for the first client
        self.queue = Queue(concurrency, settings.queue)
        self.metrics = Metrics(settings.name, self.queue)
        self.probe = Probe(model, self.queue)

    def check(self, name: str | None, task: str) -> None:
        """Check that a request for the model *name* and a *task* is for this one.

        Raises:
            ApiError: the model is another one (404), or not for that (400).
        """
        if name is not None and name != self.settings.name:
            raise ApiError(
                404,
                f"there is no model {name!r}; this server has {self.settings.name!r}",
                param="model",
                code="model_not_found",
            )
        if self.model.task != task:
            raise ApiError(
                400,
                f"the model is to {self.model.task}; its route is {ROUTES[self.model.task]}",
                param="model",
                code="wrong_task",
            )

    async def body(self, request: Request) -> dict[str, Any]:
        """The body of a request.

        Raises:
            ApiError: it is not what it should be; see `read_json`.
        """
        limits = self.settings.limits
        return await read_json(request, most_bytes=limits.body_bytes, seconds=limits.body_seconds)

    async def start(
        self, session: Session, count: int, prepare: Callable[[Session, int], A]
    ) -> tuple[Works[Piece], list[A]]:
        """Prepare so many answers and put them into the queue.

        Args:
            session: what they run on.
            count: how many.
            prepare: makes the answer with an index, on a session that ends with its work. It is
                called in a thread, since long prompts take their time.

        Raises:
            ApiError: the queue is full, or the server is stopping.
            InputError: the request cannot be served.
        """
        if count > self.queue.places:
            message = f"{count} answers at once, and this server has {self.queue.places} places"
            raise invalid("n", message)
        with self.queue.reserve(count):
            works = Works[Piece](count)
            device = self.model.device.name
            sessions = [Observed(session, work, device=device) for work in works.each]
            made = await asyncio.to_thread(
                lambda: [prepare(observed, index) for index, observed in enumerate(sessions)]
            )
            for work, answer in zip(works.each, made, strict=True):
                work.give(answer.__iter__)
            self.queue.submit(works.each)
        return works, made

    def start_one(
        self, record: Record, source: Callable[[], Generator[T, None, None]]
    ) -> dict[str, Any]:
        """Put one work into the queue that is no generation; return what a `Reply` needs.

        Raises:
            ApiError: the queue is full, or the server is stopping.
        """
        with self.queue.reserve(1):
            works = Works[T](1)
            works.each[0].give(source)
            self.queue.submit(works.each)
        return self.parts(record, works, ())

    def parts(
        self, record: Record, works: Works[T], answers: Sequence[Made], *, choices: int = 1
    ) -> dict[str, Any]:
        """What a `Reply` needs: the works, how to cancel them, and whom to tell of their end.

        So many *choices* in a row answer the same prompt.
        """
        seconds = self.settings.limits.seconds
        timer = None
        if seconds is not None:
            late = ApiError(504, f"no whole answer within {seconds:g} s", code="timeout")
            timer = asyncio.get_running_loop().call_later(seconds, self._drop, works.each, late)

        def finished(error: Exception | None) -> None:
            if timer is not None:
                timer.cancel()
            if answers:
                record.prompt_tokens = sum(a.prompt_tokens for a in answers[::choices])
                record.new_tokens = sum(len(answer.tokens) for answer in answers)
            pairs = zip(works.each, answers, strict=False)
            record.answers = [Answered.of(work, answer) for work, answer in pairs]
            if error is None:
                self.probe.told(failed=False)
            else:
                record.error = describe(error)
                if not isinstance(error, ApiError | Cancelled | InputError):
                    self.probe.told(failed=True)
                    logs.failure("an answer failed", error, request_id=record.id)
            self.metrics.answered(record)

        return {"works": works, "leave": partial(self._drop, works.each), "finished": finished}

    def _drop(self, works: Sequence[Work[Any]], error: Exception | None = None) -> None:
        for work in works:
            self.queue.drop(work, error)

    async def drain(self, seconds: float) -> None:
        """Take no more requests, let those that run go on for so long, and cancel the rest."""
        self.queue.draining = True
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.queue.idle and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        if not self.queue.idle:
            logs.log(
                logging.WARNING,
                "cancelled",
                running=self.queue.running,
                waiting=self.queue.waiting,
                drain_seconds=seconds,
            )
            self.cancel_all()

    def cancel_all(self) -> None:
        """End all requests now, with an error."""
        self.queue.drop_all(ApiError(503, "the server is stopping", code="draining"))

    def close(self) -> None:
        """End the threads and free the device."""
        if not self.queue.close(10.0):
            logs.log(logging.WARNING, "a request does not end; the device is freed under it")
        self.model.close()


def concurrency_of(model: Model, asked: int) -> int:
    """How many requests a loaded model serves at once; encoders make batches of their own."""
    return min(asked, model.session.concurrency) if isinstance(model, ChatModel) else 1


def describe(error: Exception) -> str:
    """What the log says of an error of a request: one line."""
    return " ".join(str(error).split()) or type(error).__name__
