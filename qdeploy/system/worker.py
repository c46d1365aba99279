"""The worker protocol: call a function in a process of its own, and hear what it reports.

Drivers crash and hang, and libraries keep memory and print. In a worker, that ends or disturbs the
worker only.

The parent starts Python with its own import path, in a process group of its own. It writes the job
as one line of JSON to the worker's standard input and leaves that open. The worker answers with
lines of JSON on what was its standard output:

    {"stage": TITLE}    a stage begins
    {"event": {...}}    facts, as the work goes on
    {"result": ...}     the last line: what the function returned
    {"error": {...}}    or the `QdeployError` that it raised

After a stage or an event the worker waits until the parent has taken it, so that the parent sleeps
while the worker works. When its standard input closes, the parent is gone, and the worker ends at
once. What libraries print to standard output goes to standard error, whose last lines are part of
the error when a worker dies.
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
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from typing import IO, Any, cast

from qdeploy import errors
from qdeploy.errors import QdeployError, TargetUnavailable

LAST_WORDS = 12
"""Lines of a dead worker's standard error that are kept, each cut to so many characters."""
LINE_CHARACTERS = 300
TICK_SECONDS = 0.25
EXIT_SECONDS = 60.0
"""How long a worker may take to exit once it has closed its output or told its result."""

PROGRAM = (
    "import sys; name, *sys.path[:] = sys.argv[1:]; del sys.argv[1:]; "
    "from qdeploy.system.worker import serve; serve(name)"
)
"""Only `sys` is imported before the path is set: until then, the working directory is on it."""

Event = dict[str, Any]


class WorkerFailed(Exception):
    """The worker crashed, hung or ended without a result.

    Attributes:
        how: how it ended, as words that follow "it".
        stage: title of the stage it was in.
        code: its exit code; negative is the signal that ended it, None is that it had to be ended.
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

    Nothing that the worker started outlives the call, however it ends.

    Args:
        work: a function of a module, which the worker imports.
        job: plain data.
        seconds: the deadline.
        on_stage: called with the title of each stage as it begins.
        on_event: called with the facts of each event.
        on_tick: called a few times a second while the worker works.
        environment: variables besides those of this process.
        folder: where the worker runs.
        until_exit: a worker must also exit well after it told its result. If False, it is ended
            then.

    Raises:
        QdeployError: the worker raised it.
        WorkerFailed: the worker crashed, hung or ended without a result.
    """
    path = [entry or os.getcwd() for entry in sys.path]  # the worker may run in another folder
    with TemporaryFile() as noise:  # not a pipe: a process that a driver leaves keeps that open
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{work.__module__}:{work.__qualname__}", *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C in a terminal goes to the parent, which ends the group
        )
        group = _Group(process)
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
                    raise _rebuild(message["error"])
                else:
                    if until_exit and (code := worker.wait()) != 0:
                        raise WorkerFailed(_ending(code), stage, code, _last_words(noise))
                    return message["result"]
            code = worker.wait()
            raise WorkerFailed(_ending(code), stage, code, _last_words(noise))
        except _TooLate:
            code = process.poll()  # it may have died while a process that it left holds its line
            how = f"did not answer within {seconds:g} s" if code is None else _ending(code)
            raise WorkerFailed(how, stage, code, _last_words(noise)) from None
        finally:
            group.end()
            worker.close()


class _TooLate(Exception):
    """The deadline has passed."""


class _Worker:
    """The parent's end of the line."""

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
        with contextlib.suppress(OSError):  # it has died, which its exit code tells
            self._stdin.write(line + b"\n")
            self._stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Every message until the worker closes its line. Raises _TooLate."""
        while (line := self._next()).endswith(b"\n"):  # it is cut short where the worker died
            yield json.loads(line)
            self.send(b"")

    def wait(self) -> int | None:
        """The exit code of a worker that has no more to say; None if it does not exit."""
        limit = EXIT_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        try:
            return self._process.wait(max(limit, 0))
        except subprocess.TimeoutExpired:
            if self._deadline is None:
                return None
            raise _TooLate from None

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is left of the job, unsent
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
        """Read lines on a thread, since only a queue can be waited for with a deadline."""
        with self._stdout, contextlib.suppress(OSError, ValueError):
            for line in self._stdout:
                self._lines.put(line)
        self._lines.put(b"")


def _ending(code: int | None) -> str:
    """How a process with this exit code ended, in words that follow its name."""
    if code is None:
        return f"did not exit within {EXIT_SECONDS:g} s"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _last_words(noise: IO[bytes]) -> tuple[str, ...]:
    noise.seek(max(0, noise.seek(0, os.SEEK_END) - 2**16))
    lines = noise.read().decode(errors="replace").strip().splitlines()
    return tuple(line.rstrip()[:LINE_CHARACTERS] for line in lines[-LAST_WORDS:])


def _describe(error: QdeployError) -> dict[str, Any]:
    kind = next(c for c in type(error).__mro__ if c.__module__ == errors.__name__)
    return {"kind": kind.__name__, "what": error.what, "where": error.where, "fix": error.fix}


def _rebuild(told: dict[str, Any]) -> QdeployError:
    """The worker's error, as one of the same class of `qdeploy.errors`."""
    kind = getattr(errors, told["kind"])
    if kind is TargetUnavailable:
        return TargetUnavailable(told["what"], told["fix"] or "", where=told["where"])
    made: QdeployError = kind(told["what"], where=told["where"], fix=told["fix"])
    return made


class Parent:
    """The worker's end of the line."""

    def __init__(self) -> None:
        # Nothing else may read or write the line. Windows has one more reason: there, a library
        # whose start-up looks at standard input hangs while a thread reads from it.
        self._in = os.dup(0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._taken: SimpleQueue[None] = SimpleQueue()

    def stage(self, title: str) -> None:
        """Tell that a stage begins."""
        self._tell({"stage": title})

    def tell(self, **event: Any) -> None:
        """Tell facts: plain data."""
        self._tell({"event": event})

    def receive(self) -> Any:
        """The job. From then on this process ends when the parent does."""
        with os.fdopen(self._in, "rb", buffering=0, closefd=False) as line:
            text = bytearray()
            while not text.endswith(b"\n"):
                text += line.read(2**16) or _end()
        threading.Thread(target=self._watch, daemon=True).start()
        return json.loads(text)

    def finish(self, **message: Any) -> None:
        """Send the last line."""
        self._out.write(json.dumps(message, default=str) + "\n")
        self._out.flush()

    def _tell(self, message: dict[str, Any]) -> None:
        self.finish(**message)
        self._taken.get()

    def _watch(self) -> None:
        while os.read(self._in, 1):
            self._taken.put(None)
        _end()


def _end() -> bytes:
    """End this process, whose parent is gone, and what it started."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


@contextlib.contextmanager
def bugs_as_errors() -> Iterator[None]:
    """Turn an exception that nothing foresaw into a `QdeployError`, which the parent then gets."""
    try:
        yield
    except QdeployError:
        raise
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        raise QdeployError(" ".join(said.split())) from error


def serve(name: str) -> None:
    """Be the worker: call the function *name*, `module:function`, with the job of the parent."""
    parent = Parent()
    job = parent.receive()
    module, _, function = name.partition(":")
    try:
        result = getattr(import_module(module), function)(job, parent)
    except QdeployError as error:
        parent.finish(error=_describe(error))
    else:
        parent.finish(result=result)


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class _Group:
        """A worker and all that it starts: a job object, which outlives the worker's own end."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            self._process = process
            self._kernel = ctypes.WinDLL("kernel32")
            self._kernel.CreateJobObjectW.restype = wintypes.HANDLE
            self._job = wintypes.HANDLE(self._kernel.CreateJobObjectW(None, None))
            handle = wintypes.HANDLE(int(process._handle))
            self._kernel.AssignProcessToJobObject(self._job, handle)

        def end(self) -> None:
            self._kernel.TerminateJobObject(self._job, 1)
            self._kernel.CloseHandle(self._job)
            self._process.kill()  # does nothing to one that has ended
            self._process.wait()

else:

    class _Group:
        """A worker and all that it starts: a process group, which outlives the worker's own end."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            self._process = process

        def end(self) -> None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
