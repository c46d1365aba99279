"""The worker's end of the worker protocol, which `system/worker.py` describes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from importlib import import_module
from queue import SimpleQueue
from typing import Any, TextIO

from qdeploy import errors
from qdeploy.errors import QdeployError


class Parent:
    """The worker's end of the pipes."""

    def __init__(self) -> None:
        self._in, self._out = take_pipes()
        self._taken: SimpleQueue[None] = SimpleQueue()

    def stage(self, title: str) -> None:
        """Report that a stage begins."""
        self._send({"stage": title})

    def send(self, **event: Any) -> None:
        """Send an event: plain data."""
        self._send({"event": event})

    def receive(self) -> Any:
        """Receive the job. From now on, this process ends when the parent does."""
        with os.fdopen(self._in, "rb", buffering=0, closefd=False) as line:
            text = bytearray()
            while not text.endswith(b"\n"):
                text += line.read(2**16) or end_with_the_parent()
        threading.Thread(target=self._watch, daemon=True).start()
        return json.loads(text)

    def finish(self, **message: Any) -> None:
        """Send the last line."""
        self._out.write(json.dumps(message, default=str) + "\n")
        self._out.flush()

    def _send(self, message: dict[str, Any]) -> None:
        self.finish(**message)
        self._taken.get()

    def _watch(self) -> None:
        while os.read(self._in, 1):
            self._taken.put(None)
        end_with_the_parent()


def take_pipes() -> tuple[int, TextIO]:
    """Return the ends of the pipes to the parent: standard input, and a file for the output.

    Libraries must not read or write them: they find an empty standard input, and their output goes
    to standard error. On Windows there is another reason: a library that inspects standard input
    when it is loaded hangs while a thread reads from it.
    """
    taken = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return taken, out


def end_with_the_parent() -> bytes:
    """Kill this process and the processes that it started, after its parent has ended."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def describe(error: QdeployError) -> dict[str, Any]:
    """Return an error as plain data; `worker.rebuild` makes it an error again."""
    kind = next(c for c in type(error).__mro__ if c.__module__ == errors.__name__)
    return {"kind": kind.__name__, "what": error.what, "where": error.where, "fix": error.fix}


@contextlib.contextmanager
def bugs_as_errors() -> Iterator[None]:
    """Turn an unexpected exception into a `QdeployError`, which the parent receives."""
    try:
        yield
    except QdeployError:
        raise
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        raise QdeployError(" ".join(said.split())) from error


def serve(name: str) -> None:
    """Run as a worker: call the function *name*, `module:function`, with the parent's job."""
    parent = Parent()
    job = parent.receive()
    module, _, function = name.partition(":")
    try:
        result = getattr(import_module(module), function)(job, parent)
    except QdeployError as error:
        parent.finish(error=describe(error))
    else:
        parent.finish(result=result)
