"""The service protocol: a worker process that serves for as long as its parent wants.

It is for a library that must not share the interpreter: one that keeps the interpreter's lock while
it computes, or whose crash must not be ours. This module is the parent's end; `system/channel.py`
is the service's.

As with a worker (`system/worker.py`), the parent writes the job as one line of JSON to standard
input, output of libraries goes to standard error, whose last lines tell of a crash, and the service
ends when its standard input closes, even if the parent was killed. Unlike a worker's, the messages
then go both ways in any order, each a line of JSON, and nobody waits for the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO, Any, cast

from qdeploy.system.channel import Channel
from qdeploy.system.process_group import ProcessGroup
from qdeploy.system.worker import WorkerFailed, ending, last_words

Message = dict[str, Any]

PROGRAM = (
    "import sys; name, *sys.path[:] = sys.argv[1:]; del sys.argv[1:]; "
    "from qdeploy.system.channel import serve; serve(name)"
)
"""Before the path is set, it holds the working directory, so only `sys` is imported."""
PIPE_BYTES = 2**20
"""A long prompt is about 250 kB of JSON. The default of Linux, 64 kB, would take several turns of
the service to read."""
EXIT_SECONDS = 10.0
"""A service that closed its output has this long to exit, so that its exit code is known."""


class Service:
    """A process that runs `work(job, channel)`, from the start until `close`.

    Args:
        work: a function at the top level of a module, which the process imports.
        job: plain data.
        on_message: called with each message, on a thread of the service's own.
        on_end: called on that thread when the process has ended, which is an error before `close`.
    """

    def __init__(
        self,
        work: Callable[[Any, Channel], None],
        job: Any,
        *,
        on_message: Callable[[Message], None],
        on_end: Callable[[WorkerFailed], None],
    ) -> None:
        path = [entry or os.getcwd() for entry in sys.path]
        self._noise = TemporaryFile()  # noqa: SIM115  (closed by the thread that reads to the end)
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{work.__module__}:{work.__qualname__}", *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            start_new_session=True,  # a terminal's Ctrl-C goes to the parent, which decides
        )
        self._group = ProcessGroup(self._process)
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        _widen(self._stdin)
        self._sending = threading.Lock()
        self._on_message, self._on_end = on_message, on_end
        self._thread = threading.Thread(target=self._read, name=work.__module__, daemon=True)
        self._thread.start()
        self.send(job)

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def is_listening_here(self) -> bool:
        """Whether the caller is on the thread that takes the messages, so must not wait for one."""
        return threading.current_thread() is self._thread

    def send(self, message: Any) -> None:
        """Send a message. One to a process that has ended is lost: `on_end` tells of that."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError, ValueError):
            self._stdin.write(line)
            self._stdin.flush()

    def close(self) -> None:
        """End the process and all that it started, at once. It may be called twice."""
        self._group.end()
        if not self.is_listening_here:
            self._thread.join()

    def _read(self) -> None:
        """Take messages until the process has ended; then tell how."""
        with self._noise, self._stdout:
            try:
                for line in self._stdout:
                    if line.endswith(b"\n"):  # else it died while it wrote
                        self._on_message(json.loads(line))
            finally:  # after a mistake in `on_message`, too
                self._tell_end()

    def _tell_end(self) -> None:
        """Wait until the process has ended, and call `on_end`, so that nobody waits for more."""
        try:
            code: int | None = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self._group.end()
        with self._sending, contextlib.suppress(OSError):
            self._stdin.close()
        self._on_end(WorkerFailed(ending(code), "serving", code, last_words(self._noise)))


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # more than this machine allows
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
