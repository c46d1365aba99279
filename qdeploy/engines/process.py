"""One process of an engine, from its start to its end, with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qdeploy.engines import supervisor
from qdeploy.errors import GenerationFailed, QdeployError, TargetUnavailable

LOOPBACK = "127.0.0.1"
TICK_SECONDS = 0.2
CHECK_SECONDS = 5.0
"""Time between two questions whether the engine is well."""
KILL_SECONDS = 10.0
"""Time that processes take to disappear when they are killed; big ones free much memory."""
LINE_CHARACTERS, TAIL_BYTES = 1000, 2**18
IN_USE = "address already in use"
SIGNALLED = 128


class NotReady(Exception):
    """The engine does not answer, yet or in time."""


class Sick(Exception):
    """The engine answers that it cannot go on."""


@dataclass(frozen=True)
class Launch:
    """How an engine is started.

    Attributes:
        name: of the engine, in messages.
        command: the program and its arguments, for a port of `LOOPBACK`.
        check: asks the engine at a URL whether it is ready, or still well. Raises `NotReady` or
            `Sick`.
        log: the file that its output is added to.
        environment: variables added to those of this process; None removes one.
        seconds: most time until it is ready.
        grace: seconds that it has to end by itself.
        patience: seconds during which it is tried again to start anew an engine that died; what it
            needs, another machine above all, may take long to come back. Its first start is not.
        explain: the cause and its fix, found in the last lines of its output; None if they are not
            known.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    check: Callable[[str], None]
    log: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)
    seconds: float = 600.0
    grace: float = 20.0
    patience: float = 0.0
    explain: Callable[[Sequence[str]], QdeployError | None] = lambda lines: None


class EngineProcess:
    """An engine that was started.

    Attributes:
        url: where it answers, once it is ready.
        how: how it ended, as a phrase that follows its name.
        lost_port: whether it ended since another program had taken its port.

    Raises:
        GenerationFailed: it cannot be started.
        TargetUnavailable: the system has no process groups.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._ended = threading.Event()
        self.how = "ended"
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        try:
            launch.log.parent.mkdir(parents=True, exist_ok=True)
            with launch.log.open("ab") as log:
                self._from = log.tell()
                self._process = _supervised(launch, port, log.fileno())
        except OSError as error:
            raise GenerationFailed(
                f"{launch.name} cannot be started ({error.strerror})",
                where=error.filename,
                fix="make room, or check permissions",
            ) from error

    @property
    def pid(self) -> int:
        """Process id of its supervisor."""
        return self._process.pid

    @property
    def lost_port(self) -> bool:
        return any(IN_USE in line.casefold() for line in self.last_lines())

    def await_ready(self, stopping: threading.Event) -> None:
        """Wait until it is ready.

        Raises:
            GenerationFailed: it ended, or is not ready in time. The message has its last lines.
            QdeployError: what `Launch.explain` makes of them.
        """
        deadline = time.monotonic() + self._launch.seconds
        while not self.has_ended():
            with contextlib.suppress(NotReady, Sick):
                self._launch.check(self.url)
                if not self.has_ended():  # else it was another program that answered
                    return
            if time.monotonic() > deadline:
                self.how = f"was not ready within {self._launch.seconds:g} s"
                break
            stopping.wait(TICK_SECONDS)
        lines = self.last_lines()
        if known := self._launch.explain(lines):
            raise known
        raise GenerationFailed(
            ": ".join((f"{self._launch.name} {self.how} while it was starting", *lines[-1:])),
            where=self._launch.log,
            fix="the log says why",
        )

    def watch(self) -> None:
        """Return when it has ended, and nothing of it is left. If it is sick, end it."""
        while not self.has_ended():
            try:
                self._process.wait(CHECK_SECONDS)
            except subprocess.TimeoutExpired:
                try:
                    self._launch.check(self.url)
                except NotReady:  # it is busy
                    pass
                except Sick as sick:
                    self.how = f"said that it cannot go on ({sick})"
                    break
        self.kill()

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends. It is not waited for if it says that it is well."""
        deadline = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < deadline:
            with contextlib.suppress(NotReady, Sick):
                self._launch.check(self.url)
                return self.has_ended()
            self._ended.wait(TICK_SECONDS)
        return self.has_ended()

    def has_ended(self) -> bool:
        """Whether all of its processes have ended."""
        code = self._process.poll()
        if code is not None and not self._ended.is_set():
            if self.how == "ended":
                self.how = _ending(code)
            self._ended.set()
        return code is not None

    def stop(self) -> None:
        """Let it end by itself within its grace, then kill it."""
        self._release(b"", self._launch.grace + KILL_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        self._release(supervisor.KILL, KILL_SECONDS)

    def last_lines(self) -> tuple[str, ...]:
        """The lines of its output since it was started, the last ones of many."""
        with contextlib.suppress(OSError), self._launch.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._from, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode(errors="replace").splitlines()
            return tuple(line.strip()[:LINE_CHARACTERS] for line in lines if line.strip())
        return ()

    def _release(self, word: bytes, seconds: float) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101
        with contextlib.suppress(OSError, ValueError):  # it has ended, or was told before
            stdin.write(word)
        with contextlib.suppress(OSError):
            stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.has_ended()


def free_port() -> int:
    """A port of loopback that nothing listens on. Another program may take it at any time."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _supervised(launch: Launch, port: int, output: int) -> subprocess.Popen[bytes]:
    if os.name != "posix":
        raise TargetUnavailable(
            f"{launch.name} cannot be started on this system ({sys.platform})",
            "start it yourself and give its address: --endpoint URL",
        )
    changed = {**os.environ, **launch.environment}
    return subprocess.Popen(
        [
            sys.executable, "-I", "-S", supervisor.__file__, str(launch.grace),
            *launch.command(port),
        ],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={name: value for name, value in changed.items() if value is not None},
        start_new_session=True,
    )  # fmt: skip


def _ending(code: int) -> str:
    """How a process with this exit code ended, as a phrase that follows its name."""
    number = -code if code < 0 else code - SIGNALLED
    try:
        return f"was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"exited with code {code}"
