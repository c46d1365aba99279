"""One running request, against a pipeline of a few lines: order, errors and every way to end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qdeploy.backends.openvino.runtime import Runtime
from qdeploy.backends.openvino.stream import Stream
from qdeploy.errors import GenerationFailed

ROOT = Path(__file__).parents[4]
RUNNING, CANCEL = "running", "cancel"
RUNTIME = Runtime(
    ov=SimpleNamespace(Tensor=lambda array: array),
    genai=SimpleNamespace(
        StreamerBase=object,
        StreamingStatus=SimpleNamespace(RUNNING=RUNNING, CANCEL=CANCEL),
    ),
)


class Pipeline:
    """Writes the given pieces until it is cancelled."""

    def __init__(self, *written: int | list[int] | Exception, endless: bool = False) -> None:
        self._written = written
        self._endless = endless
        self.statuses: list[str] = []

    def generate(self, tensor: Any, config: object, streamer: Any) -> None:
        assert tensor.shape == (1, 2)
        for item in self._written:
            if isinstance(item, Exception):
                raise item
            self.statuses.append(streamer.write(item))
        while self._endless and self.statuses[-1] != CANCEL:
            time.sleep(0.001)
            self.statuses.append(streamer.write(7))
        streamer.end()


@pytest.fixture
def started() -> Iterator[Callable[[Pipeline], Stream]]:
    streams = []

    def start(pipeline: Pipeline) -> Stream:
        stream = Stream(RUNTIME, pipeline, (1, 2), None, "CPU")
        stream.start()
        streams.append(stream)
        return stream

    before = threading.active_count()
    yield start
    for stream in streams:
        stream.stop()
    assert threading.active_count() == before


def test_tokens_come_in_order_one_by_one(started: Callable[[Pipeline], Stream]) -> None:
    tokens = list(started(Pipeline(3, [4, 5], 6)))
    assert [t.id for t in tokens] == [3, 4, 5, 6]
    stamps = [t.timestamp for t in tokens]
    assert stamps == sorted(stamps)


def test_stopping_cancels_the_runtime_and_waits(started: Callable[[Pipeline], Stream]) -> None:
    pipeline = Pipeline(3, endless=True)
    stream = started(pipeline)
    assert next(iter(stream)).id == 3
    stream.stop()
    assert pipeline.statuses[-1] == CANCEL


def test_a_runtimes_error_comes_after_its_tokens(started: Callable[[Pipeline], Stream]) -> None:
    tokens = iter(started(Pipeline(3, RuntimeError("Exception from x.cpp:1:\nout of memory\n"))))
    assert next(tokens).id == 3
    with pytest.raises(GenerationFailed) as caught:
        next(tokens)
    assert str(caught.value).startswith("CPU: generating failed: out of memory\n  fix: close")


def test_a_programming_error_is_not_dressed_up(started: Callable[[Pipeline], Stream]) -> None:
    with pytest.raises(ZeroDivisionError):
        list(started(Pipeline(ZeroDivisionError())))


def test_a_closed_session_does_not_look_like_an_ended_answer(
    started: Callable[[Pipeline], Stream],
) -> None:
    stream = started(Pipeline(3, 4, 5))
    tokens = iter(stream)
    next(tokens)
    stream.stop()
    with pytest.raises(GenerationFailed, match="closed"):
        next(tokens)


def test_a_stream_that_never_started_can_be_stopped() -> None:
    Stream(RUNTIME, Pipeline(3), (1, 2), None, "CPU").stop()


def test_an_answer_that_nobody_waits_for_does_not_delay_the_interpreters_end() -> None:
    """The program ends with its stream unfinished, and its generator still held."""
    program = (
        "from tests.unit.backends.openvino.test_stream import RUNTIME, Pipeline, Stream\n"
        "stream = Stream(RUNTIME, Pipeline(3, endless=True), (1, 2), None, 'CPU')\n"
        "stream.start()\n"
        "print(next(iter(stream)).id)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
