"""A command on its own terminal, as a user runs it. POSIX only."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import Command

PATIENCE_SECONDS = 60.0
INTERRUPT, END = "\x03", "\x04"
"""Ctrl-C and Ctrl-D."""
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, so that Ctrl-C becomes a signal."""


class Terminal:
    """A command on a terminal: type to it, and read what appears."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self._unread = ""

    def type(self, keys: str) -> None:
        os.write(self._descriptor, os.fsencode(keys))

    def until(self, words: str) -> str:
        """Return what appears up to and including *words*."""
        while words not in self._unread:
            more = self._read()
            assert more, f"the command ended; {words!r} is not in {self._unread!r}"
            self._unread += more
        seen, found, self._unread = self._unread.partition(words)
        return seen + found

    def rest(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what else appeared."""
        while more := self._read():
            self._unread += more
        return self.process.wait(PATIENCE_SECONDS), self._unread

    def _read(self) -> str:
        """Return what appears next; empty at the end."""
        ready, _, _ = select.select([self._descriptor], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing came any more after {self._unread!r}"
        try:
            return os.read(self._descriptor, 65536).decode("utf-8", "replace")
        except OSError:  # Linux reports a closed other end by this error
            return ""


@contextmanager
def terminal(qdeploy: Command, *arguments: str | Path) -> Iterator[Terminal]:
    """Start a command on a new terminal, and end it with the block."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *qdeploy.line(*arguments)],
        cwd=qdeploy.folder, env=qdeploy.environment(),
        stdin=its, stdout=its, stderr=its, start_new_session=True,
    )  # fmt: skip
    os.close(its)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
