"""Answers on their way to a client: whole, or event by event as they are made.

The client may leave at any time, and then the work for it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from qdeploy.generation.pieces import Piece
from qdeploy.serving.errors import ApiError, told
from qdeploy.serving.events import event
from qdeploy.serving.made import Made
from qdeploy.serving.work import Cancelled, Works

A = TypeVar("A", bound=Made)
T = TypeVar("T")
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the events
]


def error_response(error: ApiError) -> Response:
    """The response that tells of an error."""
    return JSONResponse(error.body(), error.status, headers=error.headers)


class Reply(Response, Generic[T]):
    """A response whose works are done while it is sent.

    Args:
        works: a work for each answer, submitted already.
        leave: cancels the works.
        finished: called at the end, however it comes: with the error, if any.
    """

    def __init__(
        self,
        *,
        works: Works[T],
        leave: Callable[[], None],
        finished: Callable[[Exception | None], None],
    ) -> None:
        super().__init__()
        self.works, self._leave, self._finished = works, leave, finished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(_watch(receive, self._leave))
        failure: Exception | None = None
        try:
            await self.reply(scope, receive, send)
        except Exception as error:
            failure = error
            if not isinstance(error, Cancelled):
                await self.fail(told(error), scope, receive, send)
        except asyncio.CancelledError as error:  # the server ends before its answers
            failure = Cancelled(str(error))
            raise
        finally:
            self._leave()
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self._finished(failure)

    async def reply(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answers."""
        raise NotImplementedError

    async def fail(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an error in place of the answers, or of the rest of them."""
        await error_response(error)(scope, receive, send)


class ResultReply(Reply[T]):
    """What one work made, as JSON.

    Args:
        write: makes the response of it.
    """

    def __init__(self, write: Callable[[Sequence[T]], Response], **parts: Any) -> None:
        super().__init__(**parts)
        self._write = write

    async def reply(self, scope: Scope, receive: Receive, send: Send) -> None:
        made: list[T] = []
        async for _, items, _ in self.works.batches():
            made += items
        await self._write(made)(scope, receive, send)


class WholeReply(Reply[Piece], Generic[A]):
    """All answers at once, when the last of them is made.

    Args:
        answers: what the works go through.
        write: makes JSON of the answers and of the pieces of each.
    """

    def __init__(
        self,
        answers: Sequence[A],
        write: Callable[[Sequence[A], Mapping[int, list[Piece]]], dict[str, Any]],
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self._answers, self._write = answers, write

    async def reply(self, scope: Scope, receive: Receive, send: Send) -> None:
        made: dict[int, list[Piece]] = {place: [] for place in range(len(self._answers))}
        async for place, pieces, _ in self.works.batches():
            made[place] += pieces
        await JSONResponse(self._write(self._answers, made))(scope, receive, send)


class Writer(Protocol):
    """How the parts of a streamed answer are written: `ChatReply`, `CompletionReply`."""

    def begin(self, index: int) -> bytes: ...
    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes: ...
    def end(self, index: int, answer: Any) -> bytes: ...
    def last(self, answers: Sequence[Any]) -> bytes: ...


class StreamedReply(Reply[Piece], Generic[A]):
    """Server-sent events. The status waits for the first of them, so that it can tell an error.

    Args:
        answers: what the works go through.
        writer: writes their parts.
    """

    def __init__(self, answers: Sequence[A], writer: Writer, **parts: Any) -> None:
        super().__init__(**parts)
        self._answers, self._writer, self._started = answers, writer, False

    async def reply(self, scope: Scope, receive: Receive, send: Send) -> None:
        async for data in self._events():
            await self._send(send, data)
        await self._send(send, self._writer.last(self._answers), more=False)

    async def fail(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing follows the event of an error: an answer that broke is not `[DONE]`."""
        if not self._started:
            await super().fail(error, scope, receive, send)
        else:
            await self._send(send, event(error.body()), more=False)

    async def _events(self) -> AsyncIterator[bytes]:
        begun: set[int] = set()
        async for place, pieces, ended in self.works.batches():
            data = b"" if place in begun else self._writer.begin(place)
            begun.add(place)
            data += self._writer.pieces(place, pieces)
            if ended:
                data += self._writer.end(place, self._answers[place])
            yield data

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": data, "more_body": more})


async def _watch(receive: Receive, leave: Callable[[], None]) -> None:
    """Call *leave* when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()
