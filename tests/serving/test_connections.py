"""Clients that are slow, vanish, or send what is no HTTP; keys, hosts, origins, ids, the page."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from qdeploy.bundle import Bundle
from qdeploy.serving.settings import Limits
from tests.support.serving import QUESTION, SECONDS, Running, Script, chat_model, running, until

KEYS = ("first-key-0123", "second-key-0123")


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Running]:
    with running(chat_model(bundle, Script("4"))) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(bundle: Bundle) -> Iterator[Running]:
    with running(
        chat_model(bundle, Script("4")),
        keys=KEYS, hosts=("my.box",), origins=("https://app.example",),
    ) as found:  # fmt: skip
        yield found


def connect(served: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=SECONDS)


def head(length: int) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-length: %d\r\n\r\n" % length
    )


def everything(client: socket.socket) -> bytes:
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat", head(9)[:-2]], ids=str)
def test_a_head_that_does_not_come_ends_the_connection(bundle: Bundle, sent: bytes) -> None:
    limits = Limits(head_seconds=0.1)
    with running(chat_model(bundle, Script("4")), limits=limits) as hasty, connect(hasty) as client:
        client.sendall(sent)
        assert everything(client) == b""


def test_a_body_that_does_not_come_is_told_so(bundle: Bundle) -> None:
    limits = Limits(body_seconds=0.1)
    with running(chat_model(bundle, Script("4")), limits=limits) as hasty, connect(hasty) as client:
        client.sendall(head(100) + b'{"messages"')
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"\0" * 100,
        b"POST /rerank HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
    ],
)
def test_what_is_no_http_is_refused(served: Running, sent: bytes) -> None:
    with connect(served) as client:
        client.sendall(sent)
        head, _, body = everything(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(body)["error"]["code"] == "malformed_http"
    assert served.http.get("/health").status_code == 200


def test_a_reader_that_stalls_is_left_and_holds_nobody_up(bundle: Bundle) -> None:
    """Its buffers are small, and log-probabilities are long, however many go into a chunk."""
    model = chat_model(bundle, Script("word " * 1000, concurrency=2, logprobs=5))
    asked = {"messages": QUESTION, "stream": True, "logprobs": True, "top_logprobs": 5}
    body = json.dumps(asked).encode()
    with (
        running(model, concurrency=2, limits=Limits(stall_seconds=0.1), send_buffer=4096) as served,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", served.port))
        client.sendall(head(len(body)) + body)
        assert served.http.get("/health").status_code == 200
        until(lambda: served.service.queue.idle)
        until(lambda: not served.server.server_state.tasks)
        assert b"[DONE]" not in everything(client)


def test_a_client_may_leave_before_its_body_is_whole(served: Running) -> None:
    with connect(served) as client:
        client.sendall(head(100) + b"{")
    until(lambda: not served.server.server_state.tasks)
    assert served.http.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/metrics", "/v2/rerank"])
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong-key-0123", "Basic first-key-0123", "Bearer é"]
)
def test_a_missing_or_wrong_key(guarded: Running, path: str, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode()}
    response = guarded.http.get(path, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", KEYS)
def test_each_key_lets_in(guarded: Running, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    assert guarded.http.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/main.js"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_and_the_page_need_no_key(guarded: Running, method: str, path: str) -> None:
    response = guarded.http.request(method, path)
    assert response.status_code == 200
    assert bool(response.content) is (method == "GET")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.9:1", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("MY.BOX", 200),
        ("evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_another_host_is_another_server(guarded: Running, host: str, status: int) -> None:
    """A name that someone else made to point here: DNS rebinding."""
    assert guarded.http.get("/health", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://app.example", 200), ("https://evil.example", 403), ("null", 403), ("http://[", 403)],
)
def test_pages_of_other_origins_are_refused_but_for_those_named(
    guarded: Running, origin: str, status: int
) -> None:
    headers = {"origin": origin, "authorization": f"Bearer {KEYS[0]}"}
    response = guarded.http.get("/v1/models", headers=headers)
    assert response.status_code == status
    allowed = response.headers.get("access-control-allow-origin")
    assert allowed == (origin if status == 200 else None)


def test_the_servers_own_page_is_of_its_origin(guarded: Running) -> None:
    own = guarded.url
    assert guarded.http.get("/health", headers={"origin": own}).status_code == 200


def test_a_browser_may_ask_before_it_sends(guarded: Running) -> None:
    headers = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    response = guarded.http.options("/v1/chat/completions", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:3", True), ("a b", False), ("x" * 200, False)]
)
def test_a_sane_request_id_is_kept(served: Running, given: str, kept: bool) -> None:
    found = served.http.get("/health", headers={"x-request-id": given}).headers["x-request-id"]
    assert (found == given) is kept
    assert found


def test_the_page_comes_with_a_policy_and_nothing_else_is_served(served: Running) -> None:
    page = served.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert served.http.get("/main.js").headers["content-type"].startswith("text/javascript")
    for path in ("/vendor/README.md", "/../app.py", "/%2e%2e/app.py", "/docs", "/openapi.json"):
        assert served.http.get(path).status_code == 404


def test_what_it_tells_of_itself(served: Running) -> None:
    [model] = served.http.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["max_model_len"]) == ("scripted", "model", 4096)
    assert served.http.get("/v1/models/scripted").json() == model
    about = served.http.get("/v1/qdeploy").json()
    assert about["evidence"] == "device"
    assert about["device"] == "script 0"
    assert (about["concurrency"], about["context"]) == (1, 4096)
