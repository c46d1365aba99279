"""A server in this process, over a scripted or a held session."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.deploy.loaded_models.model import Model
from qdeploy.deploy.run import Choice
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Device, Limits, Placement, Request, Session, Token
from qdeploy.serving import server
from qdeploy.serving.service import Service
from qdeploy.serving.settings import Limits as ServerLimits
from qdeploy.serving.settings import Settings
from qdeploy.targets import Evidence
from tests.support.answers import script
from tests.support.scripted import HERE, ScriptedBackend

NAME = "scripted"
QUESTION = [{"role": "user", "content": "2 + 2?"}]
VOCABULARY = 2**16
SECONDS = 20.0
"""Longest wait for what has to happen."""


class Script(Session):
    """Serves several at once, as a test says: an answer for each request, or for its last words.

    Attributes:
        hold: where set, every token waits for `go`, a token for each release.
        breaks_after: the runtime breaks after so many tokens of a request.
        begun, ended: how many requests were begun, and ended in whatever way.
        given: how many tokens were generated for all of them.
    """

    def __init__(
        self,
        *answers: str,
        concurrency: int = 1,
        context: int = 4096,
        logprobs: int | None = None,
        json_schema: bool = False,
    ) -> None:
        limits = Limits(
            context, VOCABULARY, concurrency=concurrency, logprobs=logprobs, json_schema=json_schema
        )
        super().__init__(limits, device="SCRIPT")
        self._lock = threading.Lock()
        self.say(*answers)
        self.requests: list[Request] = []
        self.begun = self.ended = self.given = 0
        self.hold, self.go = False, threading.Semaphore(0)
        self.breaks_after: int | None = None

    def say(self, *answers: str) -> None:
        """Answer with these from now on; the last one again and again."""
        self._answers, self._next = [script(answer) for answer in answers], 0

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        with self._lock:
            answer = self._answers[min(self._next, len(self._answers) - 1)]
            self._next += 1
            self.requests.append(request)
            self.begun += 1
        try:
            for place, token in enumerate(answer[: request.max_new_tokens]):
                if self.hold:
                    assert self.go.acquire(timeout=SECONDS)
                if place == self.breaks_after:
                    raise GenerationFailed("the chip is on fire", where="/dev/chip")
                rivals = tuple((token, -0.5) for _ in range(request.logprobs or 0))
                logprob = None if request.logprobs is None else -0.5
                with self._lock:
                    self.given += 1
                yield Token(token, time.perf_counter(), logprob=logprob, most_probable=rivals)
                if token in request.stop_ids:
                    return
        finally:
            with self._lock:
                self.ended += 1

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return np.zeros((len(token_ids), 1), np.float32)

    def placement(self) -> Placement:
        return Placement(("SCRIPT",), Evidence.DEVICE, "it was written down")

    def _close(self) -> None:
        pass


@dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        url: its address.
        http: a client of it.
    """

    url: str
    http: httpx.Client
    service: Service
    server: server.Server
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Tell it to stop, as SIGTERM does."""
        self.loop.call_soon_threadsafe(self.server.stop, "a test")

    def chat(self, **fields: Any) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json={"messages": QUESTION} | fields)


def chat_model(bundle: Bundle, session: Session) -> ChatModel:
    device = Device("SCRIPT:0", "script 0", HERE.name, 2**30)
    return ChatModel(bundle, Choice(HERE, ScriptedBackend(), device), session)


@contextmanager
def running(
    model: Model,
    *,
    concurrency: int = 1,
    limits: ServerLimits | None = None,
    send_buffer: int | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """Serve *model* on a free port, until the end of the block.

    The kernel keeps *send_buffer* bytes for a client that does not read; None is its own choice.
    """
    made = Settings(name=NAME, limits=limits or ServerLimits(), **settings)
    service = Service(model, made, concurrency=concurrency)
    listening = server.bind("127.0.0.1", 0)
    if send_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    uvicorn = server.make_server(service, ready.set)

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await uvicorn.serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(SECONDS)
        url = server.url(listening)
        with httpx.Client(base_url=url, timeout=SECONDS) as http:
            found = Running(url, http, service, uvicorn, loops[0])
            yield found
    finally:
        uvicorn.should_exit = True
        service.cancel_all()
        thread.join(SECONDS)
        service.close()
        listening.close()
    assert not thread.is_alive()


def until(condition: Any) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def events(text: str) -> list[Mapping[str, Any] | str]:
    """The events of a stream, decoded; the last mark is text."""
    import json

    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
