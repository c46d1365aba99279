"""`qdeploy serve` in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

SECONDS = 60.0
"""Longest wait for an answer, or for the end."""


class ServeProcess:
    """A server that is ready. At the end of its block it is killed, if it still runs.

    Attributes:
        said: its lines on stderr up to then.
        url: its address.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.said, self.url = process, "", ""
        assert process.stderr is not None
        for line in process.stderr:
            self.said += line
            if found := re.match(r"serving \S+ on (\S+)", line):
                self.url = found[1]
                return
        process.wait()
        raise AssertionError(f"it ended: {self.said}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; return the exit code, and what else it printed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
