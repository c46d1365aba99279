"""Measure in a worker process, whose death becomes an error that says what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.errors import GenerationFailed, OutOfMemory, QdeployError
from qdeploy.system.memory import KILLED
from qdeploy.system.parent import Parent
from qdeploy.system.worker import Event, WorkerFailed, run_worker

SMALLER = "close other programs, or give a shorter --prompt and --new, or a smaller bundle"
LAST_WORDS = 4
"""Lines of a dead worker's standard error that go into the message."""


def measure_apart(
    work: Callable[[dict[str, Any], Parent], None],
    job: dict[str, Any],
    environment: Mapping[str, str],
    hear: Callable[[Event], None],
) -> None:
    """Run `work(job, parent)` in a worker; *hear* gets each of its events.

    Raises:
        QdeployError: the worker raised it.
        GenerationFailed: the worker died; OutOfMemory, if the system killed it.
    """
    try:
        run_worker(work, job, environment=environment, on_event=hear)
    except OutOfMemory as error:
        raise OutOfMemory(error.what, where=error.where, fix=SMALLER) from None
    except WorkerFailed as error:
        last = " | ".join(error.words[-LAST_WORDS:])
        said = f"the process that ran it {error.how}{': ' if last else ''}{last}"
        if error.code in KILLED:
            raise OutOfMemory(
                f"{said} (the system does so when memory runs out)", fix=SMALLER
            ) from None
        raise GenerationFailed(said) from None


def open_same(path: str, digest: str) -> Bundle:
    """Open a bundle that the parent has opened before.

    Raises:
        GenerationFailed: another one is there now.
    """
    opened = open_bundle(Path(path))
    if opened.digest != digest:
        raise GenerationFailed(
            "the bundle was replaced while it was being measured",
            where=path,
            fix="measure it again, while nothing writes to it",
        )
    return opened


def with_context(what: str, failure: QdeployError) -> QdeployError:
    """Return the error with a message that starts with *what*."""
    return GenerationFailed(f"{what}: {failure.what}", where=failure.where, fix=failure.fix)
