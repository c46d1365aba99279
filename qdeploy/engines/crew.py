"""Runs several programs as one: they start in order, and when one of them ends, all do.

    python -I -S crew.py JSON

JSON is a list of objects: `name`, `command`, `environment` (added to this process's) and `ready`
(host and port that answer when the next program may start, or null). What they print is passed on,
line by line, with their names before it. The last line names the program that ended, how, and what
it printed last; then the exit code is 1. After SIGTERM it is 0, when all have ended.

It runs under `supervisor`, which ends what is left of them. The programs' standard input is a pipe
that closes however this process ends. Standard library only; it runs by its path.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

TICK_SECONDS = 0.2
LINE_CHARACTERS = 2**16


class Program:
    """A program that runs.

    Attributes:
        name: whose lines these are.
        last: the line that it printed last.
    """

    def __init__(self, described: dict[str, Any], ended: queue.SimpleQueue[Program]) -> None:
        self.name, self.last = described["name"], ""
        self._process = subprocess.Popen(
            described["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **described["environment"]},
        )
        assert self._process.stdout is not None  # noqa: S101
        self._copier = threading.Thread(target=self._copy, args=(self._process.stdout,))
        for work in (self._copier, threading.Thread(target=self._await, args=(ended,))):
            work.daemon = True
            work.start()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        self._process.wait()

    def how(self) -> str:
        """How it ended, in words."""
        code = self._process.wait()
        said = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        return f"{self.name} {said}" + (f": {self.last}" if self.last else "")

    def _copy(self, output: IO[bytes]) -> None:
        for raw in iter(lambda: output.readline(LINE_CHARACTERS), b""):
            if line := raw.decode(errors="replace").rstrip():
                self.last = line
                print(f"{self.name}| {line}", flush=True)

    def _await(self, ended: queue.SimpleQueue[Program]) -> None:
        self._process.wait()
        self._copier.join(TICK_SECONDS)  # what it started may hold its output open
        ended.put(self)


def main(described: list[dict[str, Any]]) -> int:
    ended: queue.SimpleQueue[Program] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, _stop)
    running: list[Program] = []
    try:
        for one in described:
            try:
                running.append(Program(one, ended))
            except OSError as error:
                print(f"{one['name']} cannot be started: {error}", flush=True)
                return 1
            if first := _await_ready(one["ready"], ended):
                break
        else:
            first = ended.get()
    except SystemExit:
        for program in running:
            program.terminate()
        for program in running:
            program.wait()
        return 0
    print(first.how(), flush=True)
    return 1


def _await_ready(place: Sequence[Any] | None, ended: queue.SimpleQueue[Program]) -> Program | None:
    """Wait until something answers at *place*; a program that ended before that, or None."""
    while place is not None:
        with contextlib.suppress(OSError):
            host, port = place
            socket.create_connection((host, port), timeout=1.0).close()
            return None
        with contextlib.suppress(queue.Empty):
            return ended.get(timeout=TICK_SECONDS)
    return None


def _stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
