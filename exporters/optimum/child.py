"""Run a worker process: hear its stages, notice its death, never leave it behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.failures import out_of_memory
from qdeploy.system import processes

POLL_SECONDS = 0.25
GRACE_SECONDS = 5
"""How long a worker that has closed its output may take to end, before it is made to."""
LAST_WORDS = 12
"""Lines of the worker's standard error that go into the message when it dies."""

END = b""
"""In place of a line: there are no more."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # the one setting by which both openvino-telemetry and NNCF keep from calling home
    "CI": "true",
}
"""What a worker's environment has besides the caller's."""


def run(
    command: Sequence[str],
    job: str,
    *,
    folder: Path,
    memory_bytes: int,
    stage: Callable[[str], None],
    tick: Callable[[], None],
) -> None:
    """Run a worker and wait for its end.

    Args:
        command: what to start; nothing of it goes through a shell.
        job: one line for its standard input, which then stays open as a sign that this process
            lives.
        folder: where it runs.
        memory_bytes: predicted peak, for the message if the system kills it.
        stage: called with the title of each stage as it begins.
        tick: called a few times a second.

    Raises:
        ExportFailed: the worker said so, or died. On this or any other exception, an interrupt
            by the user included, the worker's process group is killed before it propagates.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        start_new_session=True,  # Ctrl-C in the terminal is for this process, which then kills
    )
    said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    words: deque[bytes] = deque(maxlen=LAST_WORDS)
    stdin, stdout, stderr = cast(
        "tuple[IO[bytes], IO[bytes], IO[bytes]]", (process.stdin, process.stdout, process.stderr)
    )
    readers = [_drain(stdout, said.put), _drain(stderr, words.append)]
    try:
        with contextlib.suppress(BrokenPipeError):  # it died already; told below
            stdin.write(job.encode() + b"\n")
            stdin.flush()
        if not _listen(said, stage, tick):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            for reader in readers:
                reader.join(GRACE_SECONDS)
            raise _death(process.poll(), b"".join(words).decode(errors="replace"), memory_bytes)
    finally:
        processes.end(process)
        with contextlib.suppress(OSError):  # what is left of the job, unsent
            stdin.close()


def _listen(
    said: queue.SimpleQueue[bytes], stage: Callable[[str], None], tick: Callable[[], None]
) -> bool:
    """Hear a worker out; False if it falls silent for good without saying that it is done."""
    while True:
        try:
            line = said.get(timeout=POLL_SECONDS)
        except queue.Empty:
            tick()
            continue
        if line == END:
            return False
        message = json.loads(line)
        if "stage" in message:
            stage(message["stage"])
        elif "failed" in message:
            failed = message["failed"]
            raise ExportFailed(failed["what"], where=failed["where"], fix=failed["fix"])
        else:
            return True


def _drain(stream: IO[bytes], take: Callable[[bytes], Any]) -> threading.Thread:
    """Read *stream* on a thread of its own, so that its pipe never fills up; `END` comes last."""

    def read() -> None:
        with stream:
            for line in stream:
                take(line)
        take(END)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _death(code: int | None, words: str, memory_bytes: int) -> ExportFailed:
    """What to tell of a worker that ended, with *code*, and did not say how it went."""
    if code in (-9, 137):
        return out_of_memory("the system killed the export process", memory_bytes)
    how = "fell silent" if code is None else processes.ending(code)
    last = "".join(f"\n  | {line}" for line in words.splitlines())
    return ExportFailed(f"the export process {how}{last}")
