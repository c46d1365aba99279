"""Programs that run as one, here and over ssh."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qdeploy.engines import crew, supervisor
from qdeploy.engines.remote import over_ssh

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes of POSIX")
SECONDS = 30
WAITS = "import sys; print('up', flush=True); sys.stdin.read()"


def program(name: str, code: str, *, ready: tuple[str, int] | None = None) -> dict[str, object]:
    return {
        "name": name, "command": [sys.executable, "-I", "-S", "-c", code],
        "environment": {"WHO": name}, "ready": ready,
    }  # fmt: skip


@contextmanager
def running(*programs: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """A crew under its supervisor, as engines have it."""
    inner = [sys.executable, "-I", "-S", crew.__file__, json.dumps(programs)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor.__file__, "5", *inner],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def output(process: subprocess.Popen[str]) -> list[str]:
    """The lines that it prints until it ends."""
    assert process.stdout is not None
    return process.stdout.read().splitlines()


def test_all_end_when_one_does_and_the_last_line_says_which() -> None:
    dies = "import os; print(os.environ['WHO'], 'cannot go on', flush=True); raise SystemExit(3)"
    with running(program("first", WAITS), program("second", dies)) as process:
        lines = output(process)
        assert process.wait(SECONDS) == 1
    assert "second| second cannot go on" in lines
    assert lines[-1] == "second exited with code 3: second cannot go on"


def test_the_next_one_starts_when_the_former_is_ready() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = probe.getsockname()
    listens = f"import socket; s = socket.create_server({place}); s.accept(); s.accept()"
    connects = f"import socket; socket.create_connection({place}); print('connected')"
    server = program("server", f"{listens}; import sys; sys.stdin.read()", ready=place)
    with running(server, program("client", connects)) as process:
        assert output(process)[-1] == "client exited with code 0: connected"


def test_a_program_that_ends_before_it_is_ready_is_not_waited_for() -> None:
    never = program("server", "raise SystemExit('no room')", ready=("127.0.0.1", 1))
    with running(never, program("client", WAITS)) as process:
        assert output(process) == ["server| no room", "server exited with code 1: no room"]


def test_a_program_that_is_not_there_is_named() -> None:
    missing = {**program("ghost", ""), "command": ["/nowhere/at/all"]}
    with running(program("first", WAITS), missing) as process:
        assert output(process)[-1].startswith("ghost cannot be started")


def test_they_end_in_peace_when_the_parent_goes() -> None:
    with running(program("first", WAITS), program("second", WAITS)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        up = {process.stdout.readline(), process.stdout.readline()}
        assert up == {"first| up\n", "second| up\n"}
        process.stdin.close()
        assert process.wait(SECONDS) == 0


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that notes its arguments and gives the last one to a shell, as sshd does."""
    told = tmp_path / "arguments"
    script = tmp_path / "ssh"
    script.write_text(
        f"#!/bin/sh\nprintf '%s\\0' \"$@\" > {shlex.quote(str(told))}\n"
        'for last; do :; done\nexec /bin/sh -c "$last"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return told


def test_over_ssh_words_stay_words_and_hosts_are_no_options(fake_ssh: Path) -> None:
    tricky = ["$HOME", "a b", "'", '"', "`id`", "x;exit 9", "-n"]
    code = "import os, sys; print(sys.argv[1:], os.environ['WHAT'])"
    command = over_ssh(
        "node-2", [sys.executable, "-c", code, *tricky], {"WHAT": "it's $1"},
        python=sys.executable, grace=5,
    )  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read().strip() == f"{tricky} it's $1"
        assert process.wait(SECONDS) == 0
    arguments = fake_ssh.read_text().split("\0")
    assert arguments[arguments.index("node-2") - 1] == "--"
    assert "BatchMode=yes" in arguments
    assert not any("StrictHostKeyChecking" in word for word in arguments)


@pytest.mark.usefixtures("fake_ssh")
def test_a_program_there_ends_with_the_connection() -> None:
    command = over_ssh(
        "node-2", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"],
        {}, python=sys.executable, grace=5,
    )  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.stdin.close()
        assert process.wait(SECONDS) == 128 + 15
