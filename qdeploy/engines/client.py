"""The client of an engine: a server that speaks OpenAI's HTTP API."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qdeploy.engines.address import parse_address
from qdeploy.engines.chunks import Chunk, is_count, read_chunk
from qdeploy.engines.events import event_data
from qdeploy.engines.faults import ended_early, garbage, refused, too_large, unreachable
from qdeploy.engines.served_model import ServedModel, read_model
from qdeploy.errors import GenerationFailed, InputError

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 600.0
"""How long an engine may send nothing: a long prompt on a slow machine takes minutes."""
PROBE_SECONDS = 10.0
"""The same for questions that need no model."""
MOST_BYTES = 16_000_000
"""Of an answer that is no stream."""
MOST_ERROR_BYTES = 65_536
ObjectHook = Callable[[dict[str, Any]], Any]


class EngineClient:
    """Asks one engine. Many threads may use it at once.

    Args:
        url: the server's address, with or without `/v1`.
        api_key: sent as a bearer token, and neither logged nor part of any message.
        silent_seconds: how long the engine may send nothing in an answer.

    Raises:
        InputError: *url* is no address, or holds a password.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        import httpx

        self.address = parse_address(url)
        headers = {"Accept-Encoding": "identity"}  # a small body may unpack to a huge one
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(silent_seconds, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None),
            trust_env=not self.address.is_loopback,  # proxies are for other machines
        )
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()  # of the streams, which requests add to from any thread
        self._closed = False

    def health(self) -> None:
        """Ask whether the engine is alive and ready.

        Raises:
            QdeployError: it cannot be reached, or says that it is not.
        """
        self.text("/health")

    def version(self) -> str | None:
        """Return what `/version` says; None where the engine has no such page."""
        told = self.optional("/version")
        found = told.get("version") if told else None
        return found if isinstance(found, str) else None

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return self.text("/metrics")

    def models(self) -> tuple[ServedModel, ...]:
        """Return the models that the engine has.

        Raises:
            QdeployError: it cannot be reached, refuses, or its list is none.
        """
        url = f"{self.address.api}/models"
        listed = self.json("GET", url).get("data")
        if not isinstance(listed, list):
            raise garbage(url, "a list of models without data")
        models = [m for m in listed if isinstance(m, dict) and isinstance(m.get("id"), str)]
        if len(models) != len(listed):
            raise garbage(url, "a model without an id")
        return tuple(read_model(told) for told in models)

    def complete(self, body: Mapping[str, Any]) -> Generator[Chunk, None, None]:
        """Yield the chunks of an answer as they arrive; close the iterator to cancel it.

        The last chunk is that with `finish_reason`; it waits for the usage that follows it.

        The *body* is the request to /completions, but for `stream`.

        Raises:
            QdeployError: the engine refuses, fails or goes away, or what it sends is no answer.
        """
        url = f"{self.address.api}/completions"
        wanted = {**body, "stream": True, "stream_options": {"include_usage": True}}
        last: Chunk | None = None
        with closing(self.events(url, wanted)) as events:
            for event in events:
                chunk = read_chunk(event, time.perf_counter(), url)
                if last is not None:
                    last = replace(last, usage=chunk.usage or last.usage)
                elif chunk.finish_reason is not None:
                    last = chunk
                else:
                    yield chunk
        if last is None:
            raise ended_early(url)
        yield last

    def complete_whole(
        self,
        body: Mapping[str, Any],
        *,
        most_bytes: int = MOST_BYTES,
        object_hook: ObjectHook | None = None,
    ) -> Mapping[str, Any]:
        """Return the answer to a request to /completions, in one piece."""
        url = f"{self.address.api}/completions"
        return self.json("POST", url, body, most_bytes=most_bytes, object_hook=object_hook)

    def events(self, url: str, body: Mapping[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        """Yield the events of a stream; closing the iterator closes the connection.

        Raises:
            QdeployError: as `complete`; an error that the engine reports within the stream, too.
        """
        with self._answer("POST", url, body) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise garbage(url, f"{kind or 'no type'} where a stream was asked for")
            for data in event_data(response.iter_bytes(), url):
                event = _parse(data, url)
                if event.get("error"):
                    raise refused(url, _status(event["error"]), data)
                yield event

    def optional(self, path: str) -> Mapping[str, Any] | None:
        """Return the JSON of a page at the root that not every engine has; None without it."""
        try:
            return self.json("GET", f"{self.address.root}{path}")
        except InputError:
            return None

    def text(self, path: str) -> str:
        """Return a page at the root as text."""
        url = f"{self.address.root}{path}"
        with self._answer("GET", url, seconds=PROBE_SECONDS) as response:
            return _read(response, url, MOST_BYTES).decode("utf-8", errors="replace")

    def json(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        most_bytes: int = MOST_BYTES,
        object_hook: ObjectHook | None = None,
    ) -> Mapping[str, Any]:
        """Return the object that an address answers with.

        One of more than *most_bytes* is refused. The *object_hook* is that of `json.loads`.

        Raises:
            QdeployError: no answer, a refusal, too much, or no JSON object.
        """
        seconds = PROBE_SECONDS if body is None else None
        with self._answer(method, url, body, seconds=seconds) as response:
            return _parse(_read(response, url, most_bytes), url, object_hook)

    def close(self) -> None:
        """Close all connections. Requests that wait for the engine end with an error."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            _shut_down(stream)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _answer(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Yield the response once its headers are there, and close it if it is not read to its end.

        Raises:
            QdeployError: no connection, silence, or a status of 300 and more.
        """
        import httpx

        settings: dict[str, Any] = {"extensions": {"trace": self._note_connection}}
        if seconds is not None:
            settings["timeout"] = httpx.Timeout(seconds)
        try:
            with self._http.stream(method, url, json=body, **settings) as response:
                if response.status_code >= 300:
                    told = _read(response, url, MOST_ERROR_BYTES, cut=True)
                    retry = response.headers.get("retry-after")
                    text = told.decode("utf-8", errors="replace")
                    raise refused(url, response.status_code, text, retry)
                yield response
        except httpx.HTTPError as error:
            if self._closed:
                raise GenerationFailed("the connection was closed here", where=url) from None
            raise unreachable(url, error) from error

    def _note_connection(self, event: str, about: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._streams.add(about["return_value"])
                closed = self._closed
            if closed:  # while it was connecting
                _shut_down(about["return_value"])


def _shut_down(stream: Any) -> None:
    """End a connection for a thread that reads from it, which closing its socket does not wake.

    Of a TLS socket that takes the socket's own method: its class' waits for the peer.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)


def _read(response: httpx.Response, where: str, most_bytes: int, *, cut: bool = False) -> bytes:
    """Return the body; of one that is longer than *most_bytes* that much if *cut*, or refuse it."""
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > most_bytes:
            if cut:
                break
            raise too_large(where, most_bytes)
    return bytes(body[:most_bytes])


def _parse(
    text: str | bytes, where: str, object_hook: ObjectHook | None = None
) -> Mapping[str, Any]:
    try:
        found = json.loads(text, object_hook=object_hook)
    except (ValueError, RecursionError):
        raise garbage(where, "no JSON") from None
    if not isinstance(found, dict):
        raise garbage(where, "JSON that is no object")
    return found


def _status(error: object) -> int:
    """The HTTP status that an error within a stream stands for."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if is_count(code) and 400 <= code < 600 else 500
