"""`qdeploy serve` as a process: its start, what it prints, and its end. The runtime is scripted."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.bundles import scripted_bundle
from tests.support.command import Command, QuickCommand
from tests.support.serve_process import SECONDS, ServeProcess

KEY = "a-key-of-some-length"
QUESTION = {"messages": [{"role": "user", "content": "2 + 2?"}]}


class Server(ServeProcess):
    def ask(self, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
        return httpx.post(self.url + path, json=QUESTION, headers=headers, timeout=SECONDS)


@contextmanager
def served(qdeploy: Command, *arguments: str | Path, **environment: str) -> Iterator[Server]:
    process = qdeploy.start("serve", *arguments, "--port", "0", **environment)
    with Server(process) as server:
        yield server


@pytest.mark.slow
def test_it_says_where_it_serves_and_ends_in_order(qdeploy: Command, bundle: Path) -> None:
    with served(qdeploy, bundle) as server:
        assert server.url.startswith("http://127.0.0.1:")
        answer = server.ask().json()
        assert answer["choices"][0]["message"]["content"] == "4 汉🚀"
        code, out, log = server.stop()
    assert (code, out) == (0, "")
    assert "/v1/chat/completions status=200" in log
    assert "stopping reason=SIGTERM" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_json_of_start_and_log(qdeploy: Command, bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# of the team\n{KEY}\n")
    options = ("--json", "--log-format", "json", "--name", "mine", "--api-keys", keys)
    with served(qdeploy, bundle, *options) as server:
        assert server.ask().status_code == 401
        assert server.ask(authorization=f"Bearer {KEY}").json()["model"] == "mine"
        code, out, log = server.stop(signal.SIGINT)
    assert code == 0
    told = json.loads(out)
    assert (told["url"], told["model"], told["backend"]) == (server.url, "mine", "scripted")
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [401, 200]
    assert KEY not in log


@pytest.mark.slow
def test_a_second_signal_ends_it_in_the_middle_of_an_answer(
    qdeploy: Command, tmp_path: Path
) -> None:
    slow = scripted_bundle(tmp_path / "slow", answer="word " * 500, delay=0.1).path
    with served(qdeploy, slow, "--drain-seconds", "1000") as server:
        body = QUESTION | {"stream": True}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.stderr is not None
            while "stopping" not in server.process.stderr.readline():
                pass
            server.process.send_signal(signal.SIGTERM)
            rest = "".join(lines)
        assert "draining" in rest
        assert "[DONE]" not in rest
        code, _, log = server.stop()
    assert code == 0
    assert "Traceback" not in log


def test_a_port_that_is_taken(quick: QuickCommand, bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = quick("serve", bundle, "--port", str(port))
    done.fails(2, f"port {port} of 127.0.0.1 is taken", "another --port")


def test_an_address_of_another_machine(quick: QuickCommand, bundle: Path) -> None:
    quick("serve", bundle, "--port", "0", "--host", "192.0.2.1").fails(2, "--host 127.0.0.1")
    quick("serve", bundle, "--port", "0", "--host", "no.such.host.invalid").fails(
        2, "cannot listen on no.such.host.invalid"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "there is no API key"),
        (b"# only a comment\n", "there is no API key"),
        (b"short\n", "8 or more characters"),
        (b"with a space in it\n", "no spaces"),
        (b"\xff\xfe\n", "is not text"),
    ],
)
def test_a_file_of_keys_that_has_none(
    quick: QuickCommand, bundle: Path, here: Path, content: bytes, says: str
) -> None:
    (here / "keys").write_bytes(content)
    done = quick("serve", bundle, "--port", "0", "--api-keys", "keys")
    done.fails(2, "keys", says)
    assert "short" not in done.stderr  # as little as a key is printed


def test_a_file_of_keys_that_is_missing(quick: QuickCommand, bundle: Path) -> None:
    quick("serve", bundle, "--api-keys", "nowhere").fails(2, "nowhere", "cannot be read")


def test_keys_of_the_environment_are_checked_too(quick: QuickCommand, bundle: Path) -> None:
    done = quick("serve", bundle, "--port", "0", QDEPLOY_API_KEYS="first-key-ok,x")
    done.fails(2, "QDEPLOY_API_KEYS", "key 2")


def test_without_its_libraries_it_names_the_extra(
    quick: QuickCommand, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdeploy.serving.extra.LIBRARIES", ("fastapi", "no_such_library"))
    quick("serve", bundle).fails(3, "no_such_library", "pip install 'qdeploy[serve]'")


def test_what_is_no_bundle(quick: QuickCommand, here: Path) -> None:
    quick("serve", here, "--port", "0").fails(2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--host", "0.0.0.0"), "no API keys (--api-keys FILE)"),  # noqa: S104
        (("--cors", "*"), "every web page that someone here opens"),
    ],
)
def test_what_lets_others_in_is_warned_of(
    quick: QuickCommand, here: Path, options: tuple[str, ...], says: str
) -> None:
    """Before anything is loaded: here, there is nothing to load."""
    done = quick("serve", here, "--port", "0", *options)
    assert f"warning: {options[0]}" in done.stderr
    assert says in " ".join(done.stderr.split())
