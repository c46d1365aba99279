"""The chat page behind a server that says what a test wrote down."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FACTS = {
    "model": "qwen3-nano", "target": "cpu", "backend": "onnxruntime", "device": "AMD EPYC",
    "evidence": "device", "concurrency": 8, "context": 2048, "version": "0.1.0",
}  # fmt: skip
HOLD = object()
"""In a script: wait until the test calls `go`, or until the page leaves."""


def thought(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"reasoning_content": text}}]}


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def ended(reason: str = "stop", tokens: int = 12) -> list[Any]:
    """The end of a stream: the reason, the usage, and the mark."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return [last, {"choices": [], "usage": {"completion_tokens": tokens}}, "[DONE]"]


@dataclass
class ChatServer:
    """What it answers, and what it was asked.

    Attributes:
        script: events of the next streams; a dict is sent as JSON, text as it is.
        refusal: status, headers and body of a refusal instead.
        asked: bodies of the requests so far; `keys` their Authorization headers.
        left: set when the page closes a connection that is held.
    """

    url: str = ""
    script: Sequence[Any] = ()
    refusal: tuple[int, dict[str, str], bytes] | None = None
    facts: dict[str, Any] = field(default_factory=lambda: dict(FACTS))
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    def plan(self, *script: Any) -> None:
        """Answer the next requests with *script*."""
        self.script, self.refusal = script, None
        self.asked.clear()
        self.keys.clear()
        self.go.clear()
        self.left.clear()


@contextmanager
def serving() -> Iterator[ChatServer]:
    """Serve the page on a free port of this machine."""
    server = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.lstrip("/") or "index.html"
            if path == "v1/qdeploy":
                return self._send("application/json", json.dumps(server.facts).encode())
            file = resources.files("qdeploy.serving") / "page" / path
            if not file.is_file():
                return self.send_error(404)
            return self._send(TYPES[path.rpartition(".")[2]], file.read_bytes())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.asked.append(json.loads(body))
            server.keys.append(self.headers["Authorization"])
            if server.refusal:
                status, headers, content = server.refusal
                return self._send("application/json", content, status, headers)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            return self._stream()

        def _stream(self) -> None:
            for event in server.script:
                if event is HOLD:
                    self._hold()
                    continue
                data = event if isinstance(event, str) else json.dumps(event)
                for part in (f"data: {data}"[:9], f"data: {data}"[9:] + "\n\n"):  # cut anywhere
                    self.wfile.write(part.encode())
                    self.wfile.flush()

        def _hold(self) -> None:
            self.connection.settimeout(0.02)
            while not server.go.is_set():
                try:
                    if not self.connection.recv(1):
                        server.left.set()
                        return
                except TimeoutError:
                    continue
                except OSError:
                    server.left.set()
                    return

        def _send(
            self, kind: str, content: bytes, status: int = 200, more: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(content)),
                "Content-Security-Policy": POLICY,
                "Cache-Control": "no-store",
                **(more or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a page that left

    with Server(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.go.set()
            http.shutdown()
            thread.join()
