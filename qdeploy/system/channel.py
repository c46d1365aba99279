"""The service's end of the service protocol, which `system/service.py` describes."""

from __future__ import annotations

import json
import os
import threading
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any

from qdeploy.errors import QdeployError
from qdeploy.system.parent import describe, end_with_the_parent, take_pipes

Message = dict[str, Any]
READ_BYTES = 2**20


class Channel:
    """The service's end of the pipes. From now on, this process ends when the parent does."""

    def __init__(self) -> None:
        self._in, self._out = take_pipes()
        self._messages: SimpleQueue[Message] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Message:
        """Return the next message, and wait for it."""
        return self._messages.get()

    def receive(self, *, wait: bool) -> list[Message]:
        """Return the messages that have come; with *wait*, at least one."""
        found = [self.next()] if wait else []
        while True:
            try:
                found.append(self._messages.get_nowait())
            except Empty:
                return found

    def post(self, message: Message) -> None:
        """Send a message to this end itself, from another thread of it."""
        self._messages.put(message)

    def send(self, message: Message) -> None:
        """Send a message to the parent."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def _listen(self) -> None:
        text = bytearray()
        while read := os.read(self._in, READ_BYTES):
            text += read
            *lines, rest = text.split(b"\n")
            for line in lines:
                self._messages.put(json.loads(line))
            text = bytearray(rest)
        end_with_the_parent()


def serve(name: str) -> None:
    """Run as a service: call the function *name*, `module:function`, with the parent's job.

    An error of qdeploy is the last message, `{"error": ...}` as `parent.describe` writes it.
    """
    channel = Channel()
    job = channel.next()
    module, _, function = name.partition(":")
    try:
        getattr(import_module(module), function)(job, channel)
    except QdeployError as error:
        channel.send({"error": describe(error)})
