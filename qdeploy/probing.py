"""Asking a runtime something in a child process, since loading a broken driver may end that."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from qdeploy import processes

SECONDS = 60.0
"""A first contact with a driver may compile; a minute is far above that, and still finite."""


class ProbeFailed(Exception):
    """The child crashed, hung or said nothing that makes sense: in words that follow `it`."""


def ask(module: str, question: str, seconds: float = SECONDS) -> Any:
    """Run `main` of *module* with one argument, and return the JSON that it prints last.

    Raises:
        ProbeFailed: there was no answer.
    """
    return run(processes.python(module, question), seconds)


def run(command: list[str], seconds: float) -> Any:
    """Run *command* for at most so many seconds and read its answer; raises as `ask`."""
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise ProbeFailed(f"did not answer within {seconds:g} s") from None
    if child.returncode != 0:
        complaint = child.stderr.strip().splitlines()[-1:]
        raise ProbeFailed(": ".join([processes.ending(child.returncode), *complaint]))
    try:
        # drivers print to stdout too; the answer is the last line
        return json.loads(child.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise ProbeFailed(f"answered {child.stdout[-200:]!r}") from None
