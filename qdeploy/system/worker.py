"""The worker protocol: call a function in a worker process and receive its events and result.

Drivers crash and hang, and libraries keep memory and print. In a worker process, that affects only
the worker.

This module is the parent's end; `system/parent.py` is the worker's.

The parent starts Python with the same import path, in a new process group. It writes the job as one
line of JSON to the worker's standard input and leaves that open. The worker answers with lines of
JSON on its original standard output:

    {"stage": TITLE}    a stage begins
    {"event": {...}}    data, during the work
    {"result": ...}     the last line: what the function returned
    {"error": {...}}    or the `QdeployError` that it raised

After a stage or an event the worker waits until the parent has received it, so the parent sleeps
while the worker works. When its standard input closes, the parent has ended, and the worker ends
too. What libraries print to standard output goes to standard error. The last lines of standard
error are part of the error when a worker dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from typing import IO, Any, cast

from qdeploy import errors
from qdeploy.errors import QdeployError, TargetUnavailable
from qdeploy.system.parent import Parent
from qdeploy.system.process_group import ProcessGroup

LAST_WORDS = 12
"""Lines of a dead worker's standard error that an error keeps."""
LINE_CHARACTERS = 300
"""Each of these lines is cut to this length."""
TICK_SECONDS = 0.25
EXIT_SECONDS = 60.0
"""Without a deadline, a worker has this long to exit after its last line."""

PROGRAM = (
    "import sys; name, *sys.path[:] = sys.argv[1:]; del sys.argv[1:]; "
    "from qdeploy.system.parent import serve; serve(name)"
)
"""Before the path is set, it holds the working directory, so only `sys` is imported."""

Event = dict[str, Any]


class WorkerFailed(Exception):
    """The worker crashed, hung or ended without a result.

    Attributes:
        how: how it ended, as a phrase that follows "it".
        stage: title of its last stage.
        code: its exit code; negative for a signal, None if it did not end in time.
        words: the last lines of its standard error.
    """

    def __init__(self, how: str, stage: str, code: int | None, words: tuple[str, ...]) -> None:
        super().__init__(": ".join([how, *words[-1:]]))
        self.how, self.stage, self.code, self.words = how, stage, code, words


def run_worker(
    work: Callable[[Any, Parent], Any],
    job: Any,
    *,
    seconds: float | None = None,
    on_stage: Callable[[str], None] = lambda title: None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_tick: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    until_exit: bool = True,
) -> Any:
    """Call `work(job, parent)` in a worker and return its result.

    All processes that the worker started have ended when the call returns or raises.

    Args:
        work: a function at the top level of a module, which the worker imports.
        job: plain data.
        seconds: the deadline; None for no deadline.
        on_stage: called with the title of each stage.
        on_event: called with the data of each event.
        on_tick: called a few times a second during the work.
        environment: environment variables, added to those of this process.
        folder: the worker's working directory.
        until_exit: wait until the worker exits, and fail if it crashes then. If False, the worker
            is killed after its result.

    Raises:
        QdeployError: the worker raised it.
        WorkerFailed: the worker crashed, hung or ended without a result.
    """
    path = [entry or os.getcwd() for entry in sys.path]  # the worker may run in another folder
    with TemporaryFile() as noise:  # not a pipe, which processes that a driver leaves keep open
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{work.__module__}:{work.__qualname__}", *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # a terminal's Ctrl-C goes to the parent, which kills the group
        )
        group = ProcessGroup(process)
        worker = _Worker(process, seconds, on_tick)
        stage = "starting"
        try:
            worker.send(json.dumps(job, default=str).encode())
            for message in worker.messages():
                if "stage" in message:
                    stage = message["stage"]
                    on_stage(stage)
                elif "event" in message:
                    on_event(message["event"])
                elif "error" in message:
                    raise rebuild(message["error"])
                else:
                    if until_exit and (code := worker.wait()) != 0:
                        raise WorkerFailed(ending(code), stage, code, last_words(noise))
                    return message["result"]
            code = worker.wait()
            raise WorkerFailed(ending(code), stage, code, last_words(noise))
        except _TooLate:
            code = process.poll()  # it may have died while a process that it left holds the pipe
            how = f"did not answer within {seconds:g} s" if code is None else ending(code)
            raise WorkerFailed(how, stage, code, last_words(noise)) from None
        finally:
            group.end()
            worker.close()


class _TooLate(Exception):
    """The deadline has passed."""


class _Worker:
    """The parent's end of the pipes."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        seconds: float | None,
        tick: Callable[[], None] | None,
    ) -> None:
        self._process, self._tick = process, tick
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._stdin = cast("IO[bytes]", process.stdin)
        self._stdout = cast("IO[bytes]", process.stdout)
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # it has died; its exit code says how
            self._stdin.write(line + b"\n")
            self._stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield messages until the worker closes its output. Raises _TooLate."""
        while (line := self._next()).endswith(b"\n"):  # an incomplete line: the worker died
            yield json.loads(line)
            self.send(b"")

    def wait(self) -> int | None:
        """Wait for the exit code, after the last line; None if the worker does not exit."""
        limit = EXIT_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        try:
            return self._process.wait(max(limit, 0))
        except subprocess.TimeoutExpired:
            if self._deadline is None:
                return None
            raise _TooLate from None

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the rest of the job may be unsent
            self._stdin.close()

    def _next(self) -> bytes:
        while True:
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                raise _TooLate
            waits = [s for s in (left, TICK_SECONDS if self._tick else None) if s is not None]
            try:
                return self._lines.get(timeout=min(waits, default=None))
            except Empty:
                if self._tick:
                    self._tick()

    def _read(self) -> None:
        """Read lines on a thread: a queue, unlike a pipe, can be read with a timeout everywhere."""
        with self._stdout, contextlib.suppress(OSError, ValueError):
            for line in self._stdout:
                self._lines.put(line)
        self._lines.put(b"")


def ending(code: int | None) -> str:
    """Return how a process with this exit code ended, as a phrase that follows its name."""
    if code is None:
        return f"did not exit within {EXIT_SECONDS:g} s"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def last_words(noise: IO[bytes]) -> tuple[str, ...]:
    """Return the last lines of a process's standard error, which went into the file *noise*."""
    noise.seek(max(0, noise.seek(0, os.SEEK_END) - 2**16))
    lines = noise.read().decode(errors="replace").strip().splitlines()
    return tuple(line.rstrip()[:LINE_CHARACTERS] for line in lines[-LAST_WORDS:])


def rebuild(described: dict[str, Any]) -> QdeployError:
    """Return the worker's error as an instance of the same class of `qdeploy.errors`."""
    kind = getattr(errors, described["kind"])
    if kind is TargetUnavailable:
        return TargetUnavailable(
            described["what"], described["fix"] or "", where=described["where"]
        )
    made: QdeployError = kind(described["what"], where=described["where"], fix=described["fix"])
    return made
