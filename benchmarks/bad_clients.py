"""Clients that do what clients should not: each act is one of them, over a plain socket.

An act gets the server's URL, a source of random numbers and when the soak ends. It returns what the
server did wrong, or None.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

Act = Callable[[str, random.Random, float], str | None]
SECONDS = 30.0
STALL_SECONDS = (2.0, 8.0)
QUESTION = {
    "messages": [{"role": "user", "content": "What is 48261 + 7354?"}], "stream": True,
    "chat_template_kwargs": {"enable_thinking": True},
}  # fmt: skip
DEEP = b"[" * 50_000
GARBAGE: Sequence[tuple[bytes, str]] = (
    (b"", "nothing"),
    (b"{", "half of an object"),
    (b"\xff\xfe{}", "bytes that are no UTF-8"),
    (b"[]", "a list"),
    (DEEP, "deep nesting"),
    (b'{"messages": "hello"}', "text for messages"),
    (b'{"messages": []}', "no messages"),
    (b'{"messages": [{"role": "user", "content": "x"}], "model": "gpt-9"}', "an unknown model"),
    (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": -1}', "a negative limit"),
    (b'{"messages": [{"role": "user", "content": "x"}], "temperature": -1}', "a cold request"),
    (
        json.dumps({"messages": [{"role": "user", "content": "1 " * 9999}]}).encode(),
        "a long prompt",
    ),
)


def vanish(url: str, drawn: random.Random, until: float) -> str | None:
    """Leave in the middle of an answer, or before it begins."""
    with _connected(url) as connection:
        _send(connection, json.dumps(QUESTION).encode())
        for _ in range(drawn.randint(0, 6)):
            if not connection.recv(200):
                break
    return None


def stall(url: str, drawn: random.Random, until: float) -> str | None:
    """Ask, and do not read for a while."""
    with _connected(url, buffer=1024) as connection:
        _send(connection, json.dumps(QUESTION).encode())
        _wait(drawn, until)
    return None


def trickle(url: str, drawn: random.Random, until: float) -> str | None:
    """Send half of a request, and no more."""
    with _connected(url) as connection:
        whole = _request(json.dumps(QUESTION).encode())
        connection.sendall(whole[: drawn.randint(1, len(whole) - 1)])
        _wait(drawn, until)
    return None


def garbage(url: str, drawn: random.Random, until: float) -> str | None:
    """Send a body that cannot be served: the answer is an error of the client's kind, in JSON."""
    body, name = drawn.choice(GARBAGE)
    with _connected(url) as connection:
        _send(connection, body)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except TimeoutError:
            return f"{name} is not answered within {SECONDS:g} s"
    head, _, told = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not status or not status[0].startswith(b"4"):
        return f"{name} is answered with {head[:60]!r}"
    try:
        json.loads(told)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"{name} is answered with {told[:100]!r}"
    return None


def noise(url: str, drawn: random.Random, until: float) -> str | None:
    """Send what is no HTTP: the answer is an error, or the connection is closed."""
    with _connected(url) as connection:
        connection.sendall(drawn.randbytes(drawn.randint(1, 5000)))
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(64)
        except TimeoutError:
            return f"noise keeps its connection for {SECONDS:g} s"
    return None if not answer or b" 400 " in answer else f"noise is answered with {answer!r}"


ACTS: Sequence[tuple[str, Act]] = tuple(
    (act.__name__, act) for act in (vanish, stall, trickle, garbage, noise)
)


def _connected(url: str, *, buffer: int | None = None) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.socket()
    connection.settimeout(SECONDS)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect((parts.hostname, parts.port))
    return connection


def _request(body: bytes) -> bytes:
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _send(connection: socket.socket, body: bytes) -> None:
    connection.sendall(_request(body))


def _wait(drawn: random.Random, until: float) -> None:
    time.sleep(min(drawn.uniform(*STALL_SECONDS), max(0.0, until - time.monotonic())))
