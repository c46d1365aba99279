"""Child processes: how Python is started with the same import path, ended, and its end told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

PROGRAM = (
    "import sys; module, count, *rest = sys.argv[1:]; "
    "sys.argv[1:], sys.path[:] = rest[:int(count)], rest[int(count):]; "
    "from importlib import import_module; import_module(module).main()"
)
"""Until the path is set, the working directory is on it: nothing but `sys` is imported before."""


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs `main` of *module*, which finds the arguments in `sys.argv`.

    `python -m` would put the working directory first, so that a file lying there would be run in
    place of a package of its name.
    """
    return [sys.executable, "-c", PROGRAM, module, str(len(arguments)), *arguments, *sys.path]


def ending(code: int) -> str:
    """How a process with this exit code ended, in words that follow its name."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def end(child: subprocess.Popen[Any]) -> None:
    """End a child that leads a session of its own, and what it started, if any of it still runs.

    Compilers of drivers outlive who asked for them.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()
