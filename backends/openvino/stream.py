"""A running request: a thread runs the runtime, and the caller reads tokens from a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from qdeploy.backends.openvino.errors import translated
from qdeploy.backends.openvino.request import token_tensor
from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Token

POLL_SECONDS = 0.2
"""Longest wait that Ctrl-C cannot interrupt: on Windows it interrupts no blocked thread."""

_Item = Token | BaseException | None


class Stream:
    """Generates in a thread from `start` to `stop`. Iterate over it for the tokens.

    Args:
        pipeline: LLMPipeline.
        config: GenerationConfig.
        device: named in errors.
    """

    def __init__(
        self, runtime: Runtime, pipeline: Any, ids: Sequence[int], config: Any, device: str
    ) -> None:
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._stopped = threading.Event()
        self._device = device
        # A finished thread drops its arguments, so that close() frees the pipeline even while a
        # caller holds this object.
        self._thread = threading.Thread(
            target=self._generate, args=(runtime, pipeline, tuple(ids), config), name="openvino"
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the runtime and wait until it has stopped. A prefill cannot be interrupted."""
        self._stopped.set()
        if self._thread.ident is not None:  # None: it was never started
            self._thread.join()

    def __iter__(self) -> Iterator[Token]:
        """Yield tokens until the runtime is done.

        Raises:
            GenerationFailed: the runtime broke, or the session was closed meanwhile.
        """
        while True:
            try:
                item = self._queue.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if self._stopped.is_set():
                raise GenerationFailed(
                    "the session was closed while it was generating", where=self._device
                )
            if item is None:
                return
            if isinstance(item, BaseException):
                with translated("generating", where=self._device):
                    raise item
            yield item

    def _generate(self, runtime: Runtime, pipeline: Any, ids: Sequence[int], config: Any) -> None:
        try:
            streamer = make_streamer(runtime, self._queue, self._stopped)
            pipeline.generate(token_tensor(runtime, ids), config, streamer)
        except BaseException as error:  # on any error, the caller must not wait forever
            self._queue.put(error)
        else:
            self._queue.put(None)


def make_streamer(runtime: Runtime, queue: SimpleQueue[_Item], stopped: threading.Event) -> Any:
    """Return a StreamerBase that puts tokens on *queue* until *stopped* is set."""
    status = runtime.genai.StreamingStatus
    base: Any = runtime.genai.StreamerBase

    class Streamer(base):  # type: ignore[misc]  # a base without types
        # The runtime calls these from a C++ thread, where an exception ends the process.

        def write(self, token: int | list[int]) -> Any:
            now = time.perf_counter()
            for number in token if isinstance(token, list) else [token]:
                queue.put(Token(number, now))
            # At exit the interpreter waits for this thread, and an answer may take minutes.
            ending = not threading.main_thread().is_alive()
            return status.CANCEL if stopped.is_set() or ending else status.RUNNING

        def end(self) -> None:
            pass

    return Streamer()
