"""Asking a runtime something in a child process, since loading a broken driver may end that."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any

from qdeploy.system import processes

SECONDS = 60.0
"""A first contact with a driver may compile; a minute is far above that, and still finite."""


class ProbeFailed(Exception):
    """The child crashed, hung or said nothing that makes sense: in words that follow `it`."""


def ask(module: str, question: str, seconds: float = SECONDS) -> Any:
    """Run `main` of *module* with one argument; return the last JSON object or array it prints.

    Raises:
        ProbeFailed: there was no answer.
    """
    return run(processes.python(module, question), seconds)


def run(command: list[str], seconds: float) -> Any:
    """Run *command* for at most so many seconds and read its answer; raises as `ask`.

    Nothing that it started outlives the call.
    """
    # Files and no pipes: a process that the driver leaves behind would keep a pipe open.
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProbeFailed(f"did not answer within {seconds:g} s") from None
        finally:
            processes.end(child)
        said, complaint = (_text(file) for file in (stdout, stderr))
    if code != 0:
        raise ProbeFailed(": ".join([processes.ending(code), *complaint.splitlines()[-1:]]))
    return _answer(said)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()


def _answer(said: str) -> Any:
    """The last line that is a JSON object or array: drivers print before it and after."""
    for line in reversed(said.splitlines()):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict | list):
                return found
    raise ProbeFailed(f"answered {said[-200:]!r}")
