"""A server that answers as a test says: as an engine does, or wrongly in one of many ways."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from typing_extensions import override

STREAM = "text/event-stream; charset=utf-8"
Ending = Literal["whole", "dropped", "silent"]


@dataclass
class Reply:
    """One answer.

    Attributes:
        parts: the body, written part by part; an endless iterator ends when the client leaves.
        kind: the content type.
        ending: `whole`; or the connection is `dropped` in mid-body; or nothing more comes and the
            connection stays, `silent`, until the stub ends.
        chunked: whether the body is in HTTP's chunks, which tell a client of a dropped end.
    """

    parts: Iterable[bytes] = ()
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = "whole"
    chunked: bool = True


@dataclass
class Asked:
    """A request that the stub got."""

    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int
    """The client's port."""


class StubEngine:
    """What the server answers by path, and what it was asked.

    Attributes:
        replies: for each path a reply; or several in turn, of which the last is repeated; or what
            makes one of a request's body.
        asked: all requests.
        left: set when a client went away before its answer was whole.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply | list[Reply] | Callable[[Any], Reply]] = {}
        self.asked: list[Asked] = []
        self.left = threading.Event()
        self.over = threading.Event()
        self.url = ""

    def reply(self, path: str, body: object) -> Reply:
        found = self.replies.get(path, Reply([b'{"detail": "Not Found"}'], 404))
        if isinstance(found, Reply):
            return found
        if callable(found):
            return found(body)
        return found.pop(0) if len(found) > 1 else found[0]

    def bodies(self, path: str) -> list[Any]:
        """The bodies of the requests to a path."""
        return [asked.body for asked in self.asked if asked.path == path]


def told(found: object, status: int = 200, **headers: str) -> Reply:
    """A reply in JSON."""
    return Reply([json.dumps(found).encode()], status, headers=headers)


def event(data: object) -> bytes:
    """A server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def choice(**found: object) -> dict[str, Any]:
    """An event of /completions with one choice."""
    return {"choices": [{"index": 0, "text": "", **found}]}


def tokens(*ids: int, finish: str | None = "stop", **found: object) -> Reply:
    """A stream with one event for each token, as vLLM's."""
    return stream([choice(token_ids=[i], **found) for i in ids], finish=finish)


def stream(events: Sequence[object], *, finish: str | None = None, **how: Any) -> Reply:
    """A stream of these events; *finish* ends it as OpenAI's API does."""
    parts = [event(each) for each in events]
    if finish is not None:
        parts.append(event(choice(finish_reason=finish)))
        parts.append(event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}))
        parts.append(event("[DONE]"))
    return Reply(parts, kind=STREAM, **how)


def deltas(*parts: dict[str, Any], finish: str = "stop", usage: object = None) -> Reply:
    """A stream of a chat, one event for each delta."""
    events: list[object] = [{"choices": [{"index": 0, "delta": part}]} for part in parts]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if usage is not None:
        events.append({"choices": [], "usage": usage})
    return stream([*events, "[DONE]"])


def models(*names: str, owner: str = "vllm", **found: object) -> Reply:
    """A list of models."""
    return told({"data": [{"id": name, "owned_by": owner, **found} for name in names]})


def like_vllm(stub: StubEngine, answer: Sequence[int], *, context: int = 2048) -> None:
    """Let a stub answer as vLLM does: token ids with the ids of *answer*, whatever the prompt."""

    def complete(body: Any) -> Reply:
        if body.get("stream"):
            return tokens(*answer[: body["max_tokens"]])
        return told(choice(token_ids=list(answer[:1]), finish_reason="length"))

    stub.replies |= {
        "/v1/models": models("nano", max_model_len=context),
        "/version": told({"version": "0.32.0"}),
        "/v1/completions": complete,
    }


@contextmanager
def stub_engine() -> Iterator[StubEngine]:
    """Yield a stub that listens on loopback until the context ends."""
    stub = StubEngine()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(json.loads(body))

        def _answer(self, body: object) -> None:
            stub.asked.append(
                Asked(self.path, dict(self.headers.items()), body, self.client_address[1])
            )
            reply = stub.reply(self.path, body)
            try:
                self._send(reply)
            except OSError:
                self.close_connection = True
                stub.left.set()

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            for name, value in reply.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header(*(("Transfer-Encoding", "chunked") if reply.chunked else CLOSE))
            self.end_headers()
            for part in reply.parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if reply.chunked else part)
            if reply.ending == "silent":
                self.connection.settimeout(60)
                if not stub.over.is_set() and self.rfile.read(1) == b"":
                    stub.left.set()
            elif reply.ending == "whole" and reply.chunked:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = reply.ending != "whole" or not reply.chunked

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        @override
        def handle_error(self, request: object, client_address: object) -> None:
            """Print nothing: a client has left."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        stub.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


CLOSE = ("Connection", "close")
