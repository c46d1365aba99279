"""HTTP/1.1 with time limits against clients that send or read too slowly.

uvicorn limits neither: a client that never ends its request's head, or never reads its answer,
would keep its connection for ever. What is no HTTP is refused in the form of all other errors.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qdeploy.serving.errors import ApiError
from qdeploy.serving.settings import Limits


def limited_protocol(limits: Limits) -> type[H11Protocol]:
    """The protocol class with these limits, as uvicorn takes it."""

    class Limited(_Limited):
        head_seconds, stall_seconds = limits.head_seconds, limits.stall_seconds

    return Limited


class _Limited(H11Protocol):
    head_seconds: float
    stall_seconds: float
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # a part of a head, or nothing of one
            self._await_head()
        else:
            self._stop_head()

    def send_400_response(self, msg: str) -> None:
        error = ApiError(400, "the request is not HTTP/1.1", code="malformed_http")
        body = json.dumps(error.body()).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer was begun
            head = h11.Response(status_code=error.status, headers=headers, reason=b"Bad Request")
            for part in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        """The buffers are full: the client does not read, or slower than answers are made."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stall()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head()
        self._stop_stall()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
