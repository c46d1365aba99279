"""Runs a worker and hears what it tells. This process sleeps while the worker works."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any

from qdeploy import errors
from qdeploy.bench.worker import Job
from qdeploy.errors import GenerationFailed, QdeployError, TargetUnavailable
from qdeploy.system import processes

LAST_WORDS = 4
"""Lines of the worker's stderr that go into the message when it dies."""

Event = dict[str, Any]
Hear = Callable[[Event], None]


def run(job: Job, environment: Mapping[str, str], hear: Hear) -> None:
    """Run one worker to its end, handing each of its events to *hear*.

    Raises:
        QdeployError: what the worker raised; or GenerationFailed, because it died.
    """
    with tempfile.TemporaryFile() as noise:
        worker = subprocess.Popen(
            processes.python("qdeploy.bench.worker"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise,
            env=os.environ | environment, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            failure = _converse(worker, job, hear)
            code = worker.wait()
        finally:
            _end(worker)
        if failure is not None:
            raise failure
        if code != 0:
            raise GenerationFailed(
                f"the process that ran it {processes.ending(code)}{_last_words(noise)}"
            )


def _converse(worker: subprocess.Popen[str], job: Job, hear: Hear) -> QdeployError | None:
    """Talk until the worker closes its line; return the error that it told, if it did."""
    assert worker.stdin is not None  # noqa: S101
    assert worker.stdout is not None  # noqa: S101
    failure = None
    with contextlib.suppress(BrokenPipeError):  # it died, and its exit code will say so
        print(job.to_json(), file=worker.stdin, flush=True)
        for line in worker.stdout:
            event: Event = json.loads(line)
            if event["event"] == "error":
                failure = _error(event)
            else:
                hear(event)
            print(file=worker.stdin, flush=True)
    return failure


def _error(event: Event) -> QdeployError:
    """The worker's error, as one of the same class."""
    kind = getattr(errors, event["kind"], QdeployError)
    if kind is TargetUnavailable:
        return TargetUnavailable(event["what"], event["fix"] or "", where=event["where"])
    made: QdeployError = kind(event["what"], where=event["where"], fix=event["fix"])
    return made


def _end(worker: subprocess.Popen[str]) -> None:
    """Leave no worker behind, whatever happened here."""
    if worker.poll() is None:
        worker.kill()
        worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _last_words(noise: IO[bytes]) -> str:
    noise.seek(0)
    lines = noise.read().decode("utf-8", "replace").strip().splitlines()[-LAST_WORDS:]
    return ": " + " | ".join(lines) if lines else ""
