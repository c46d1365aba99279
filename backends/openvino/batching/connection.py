"""The session's end of an engine: one queue of tokens for each request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from copy import copy
from queue import Empty, SimpleQueue
from typing import Any

from qdeploy.backends.openvino import schema
from qdeploy.backends.openvino.batching import engine
from qdeploy.backends.openvino.batching.messages import Kind, request_to_plain
from qdeploy.backends.openvino.stream import POLL_SECONDS
from qdeploy.errors import GenerationFailed, OutOfMemory, QdeployError
from qdeploy.interface import Request, Token
from qdeploy.system.memory import KILLED, LESS
from qdeploy.system.service import Message, Service
from qdeploy.system.worker import WorkerFailed, rebuild

AGAIN = "load the bundle again; qdeploy doctor tells whether the device works"

_Item = Token | QdeployError | None


class Answer:
    """A request in the engine. Iterate over it for the tokens, once."""

    def __init__(self) -> None:
        self._items: SimpleQueue[_Item] = SimpleQueue()
        self.has_ended = threading.Event()

    def put(self, token: Token) -> None:
        self._items.put(token)

    def end(self, error: QdeployError | None = None) -> None:
        """The request has left the engine."""
        self._items.put(error)
        self.has_ended.set()

    def __iter__(self) -> Iterator[Token]:
        """Yield tokens until the request has ended.

        Raises:
            GenerationFailed: the runtime broke, or the session was closed meanwhile.
            InputError: the runtime cannot follow the request's schema.
        """
        while True:
            try:
                item = self._items.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, QdeployError):
                raise copy(item)  # the engine's own error ends several requests
            yield item


class Connection:
    """A running engine.

    Args:
        job: what it loads, as `engine.work` takes it.

    Raises:
        GenerationFailed: it could not load that.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._device: str = job["device"]
        self._lock = threading.Lock()
        self._answers: dict[int, Answer] = {}
        self._numbers = 0
        self._error: QdeployError | None = None
        self._log: str | None = None
        self._loaded = threading.Event()
        self._service = Service(
            engine.work, job, on_message=self._receive, on_end=self._service_ended
        )
        try:
            while not self._loaded.wait(POLL_SECONDS):
                pass
        except BaseException:  # Ctrl-C, while it loads
            self._service.close()
            raise
        if self._error is not None:
            raise self._error

    @property
    def log(self) -> str:
        """What the runtime printed while it loaded."""
        return self._log or ""

    @property
    def process_id(self) -> int:
        """The engine's."""
        return self._service.process_id

    def open(self, request: Request) -> tuple[int, Answer]:
        """Send a request. Return its number and its answer.

        Raises:
            GenerationFailed: the engine has ended.
        """
        answer = Answer()
        with self._lock:
            if self._error is not None:
                raise copy(self._error)
            self._numbers += 1
            number = self._numbers
            self._answers[number] = answer
        self._service.send({"add": number, "request": request_to_plain(request)})
        return number, answer

    def cancel(self, number: int, answer: Answer) -> None:
        """Take a request back, if it has not ended, and wait until the engine has let go of it.

        A generator that nobody closed is closed by the garbage collector, on any thread: on the one
        that takes the engine's messages, nothing may wait.
        """
        if not answer.has_ended.is_set():
            self._service.send({"cancel": number})
            while not self._service.is_listening_here and not answer.has_ended.wait(POLL_SECONDS):
                pass

    def close(self, error: QdeployError) -> None:
        """End the engine. Requests in it end with *error*."""
        self._fail(error)
        self._service.close()

    def _receive(self, message: Message) -> None:
        now = time.perf_counter()
        if "ready" in message:
            self._log = message["ready"]
            self._loaded.set()
            return
        if "error" in message:
            self._fail(rebuild(message["error"]))
            return
        for number, ids, logprobs in message["made"]:
            if answer := self._answers.get(number):
                for place, token in enumerate(ids):
                    answer.put(Token(token, now, logprob=logprobs and logprobs[place]))
        for number in message["ended"]:
            self._finish(number, None)
        for number, kind, what in message["failed"]:
            self._finish(number, self._failure(kind, what))

    def _finish(self, number: int, error: QdeployError | None) -> None:
        with self._lock:
            answer = self._answers.pop(number, None)
        if answer is not None:
            answer.end(error)

    def _failure(self, kind: Kind, what: str) -> QdeployError:
        """Return the error of one request."""
        if kind == "schema":
            return schema.refused(what, self._device)
        if kind == "cache":
            fix = "raise cache_size or num_kv_blocks, or load for fewer requests at once"
            return OutOfMemory(f"generating failed: {what}", where=self._device, fix=fix)
        return GenerationFailed(f"generating failed: {what}", where=self._device)

    def _service_ended(self, ended: WorkerFailed) -> None:
        what = f"the process that generates {ended}"
        if ended.code in KILLED:
            self._fail(
                OutOfMemory(f"{what}; memory may have run out", where=self._device, fix=LESS)
            )
        else:
            self._fail(GenerationFailed(what, where=self._device, fix=AGAIN))

    def _fail(self, error: QdeployError) -> None:
        """End all requests with *error*, and every later one. The first error stays."""
        with self._lock:
            self._error = self._error or error
            answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.end(self._error)
        self._loaded.set()
