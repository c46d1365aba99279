"""Flushes a file to the disk in the background while more is written to it."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

from qdeploy.exporters.native.weights_file.journal import Journal

if TYPE_CHECKING:
    from typing_extensions import Self


class Flusher:
    """Flushes a file to the disk and then writes the journal, on its own thread.

    Leaving the context waits for the last flush. A failed flush raises its OSError there or in the
    next `begin`.
    """

    def __init__(self, file: BinaryIO, journal: Journal) -> None:
        self._file, self._journal = file, journal
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def begin(self, count: int) -> None:
        """Start to flush the first *count* blocks, after waiting for the previous flush."""
        self._wait()
        self._file.flush()
        self._running = self._thread.submit(self._flush, count)

    def _flush(self, count: int) -> None:
        os.fsync(self._file.fileno())
        self._journal.record(count)

    def _wait(self) -> None:
        if self._running:
            self._running.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()
