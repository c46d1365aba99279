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
from typing import Any

from qdeploy import errors
from qdeploy.errors import QdeployError


class Parent:
    """The worker's end of the pipes."""

    def __init__(self) -> None:
        # Libraries must not read or write the pipes. On Windows there is another reason: a library
        # that inspects standard input when it is loaded hangs while a thread reads from it.
        self._in = os.dup(0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
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
                text += line.read(2**16) or _end()
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
        _end()


def _end() -> bytes:
    """Kill this process and the processes that it started, after its parent has ended."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _describe(error: QdeployError) -> dict[str, Any]:
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
        parent.finish(error=_describe(error))
    else:
        parent.finish(result=result)
