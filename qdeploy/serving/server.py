"""The process: a socket, uvicorn on it, and an orderly end when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from qdeploy.errors import InputError
from qdeploy.serving import logs
from qdeploy.serving.app import make_app
from qdeploy.serving.protocol import limited_protocol
from qdeploy.serving.service import Service

BACKLOG = 1024
"""Most connections that wait to be accepted."""
KEEP_ALIVE = 60
"""Seconds for which a connection without a request stays open: clients like to reuse theirs, and a
request on one that is just being closed would be lost."""
LAST_WRITES = 5
"""Seconds for answers that are made, but not wholly sent, at the end."""


def bind(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded. Port 0 is any free one.

    Raises:
        InputError: it is taken, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host} ({error.strerror or error})", fix="--host 127.0.0.1"
        ) from None
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise _refused(host, port, error) from None
    return taken


def _refused(host: str, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(
            f"port {port} of {host} is taken by another process",
            fix="stop that, or give another --port; 0 is any free one",
        )
    fix = "give a --port above 1023" if error.errno == errno.EACCES else "--host 127.0.0.1"
    return InputError(f"cannot listen on {host}:{port} ({error.strerror or error})", fix=fix)


def is_loopback(listening: socket.socket) -> bool:
    """Whether no other machine reaches a bound socket."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def url(listening: socket.socket) -> str:
    """The address of a socket, for people and clients."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def serve(service: Service, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end. The service is closed, too.

    Args:
        service: the loaded model.
        listening: a bound socket.
        ready: called when requests are answered.
    """
    try:
        asyncio.run(make_server(service, ready).serve(sockets=[listening]))
    finally:
        service.close()


def make_server(service: Service, ready: Callable[[], None]) -> Server:
    """Make the server, which its `serve` runs."""
    config = uvicorn.Config(
        make_app(service),
        http=limited_protocol(service.settings.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=LAST_WRITES,
        timeout_keep_alive=KEEP_ALIVE,
    )
    return Server(config, service, ready)


class Server(uvicorn.Server):
    """uvicorn's server, which goes on answering while running requests end.

    The first signal drains; a second one ends the server at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._ready = service, ready
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread is told of signals
            return
        loop = asyncio.get_running_loop()

        def tell(number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop, signal.Signals(number).name)

        signals = (signal.SIGINT, signal.SIGTERM)
        before: dict[int, Any] = {number: signal.signal(number, tell) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, reason: str) -> None:
        """Drain and end; at once if it is called again. It is called on the event loop."""
        if self._drain is None:
            queue = self._service.queue
            counts = {"running": queue.running, "waiting": queue.waiting}
            logs.log(logging.INFO, "stopping", reason=reason, **counts)
            self._drain = asyncio.get_running_loop().create_task(self._drained())
        else:
            logs.log(logging.WARNING, "stopping at once", reason=reason)
            self._drain.cancel()
            self._service.cancel_all()
            self.should_exit = True

    async def _drained(self) -> None:
        await self._service.drain(self._service.settings.drain_seconds)
        self.should_exit = True
