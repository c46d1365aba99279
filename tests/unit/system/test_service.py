"""The service protocol: messages both ways, and every way in which a service ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from qdeploy.system.service import Service
from qdeploy.system.worker import WorkerFailed
from tests.support.workers import make_work
from tests.unit.system.test_worker import POSIX, is_gone

SECONDS = 30
ECHO = ("for message in iter(parent.next, 'stop'): parent.send([job, message])",)


class Started:
    """A service, and what came from it."""

    def __init__(self, work: Callable[[Any, Any], None], job: Any) -> None:
        self.heard: SimpleQueue[Any] = SimpleQueue()
        self.ended: SimpleQueue[WorkerFailed] = SimpleQueue()
        self.service = Service(work, job, on_message=self.heard.put, on_end=self.ended.put)

    def next(self) -> Any:
        return self.heard.get(timeout=SECONDS)

    def end(self) -> WorkerFailed:
        return self.ended.get(timeout=SECONDS)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Started]]:
    """Return a function that starts a service of lines of Python, whose channel is `parent`."""
    all_started = []

    def run(*lines: str, job: Any = None) -> Started:
        started = Started(make_work(tmp_path, monkeypatch, *lines), job)
        all_started.append(started)
        return started

    yield run
    for started in all_started:
        started.service.close()


def test_messages_go_both_ways_for_as_long_as_wanted(start: Callable[..., Started]) -> None:
    started = start(*ECHO, job="é")
    for number in range(3):
        started.service.send({"汉": number})
        assert started.next() == ["é", {"汉": number}]
    started.service.send("stop")
    assert started.end().code == 0


def test_messages_larger_than_a_pipe_arrive(start: Callable[..., Started]) -> None:
    started = start(*ECHO)
    long = list(range(2**19))
    started.service.send(long)
    assert started.next() == [None, long]


def test_what_has_come_is_taken_at_once_and_in_order(start: Callable[..., Started]) -> None:
    started = start(
        "found = parent.receive(wait=False)",
        "while len(found) < 5: found += parent.receive(wait=True)",
        "parent.post('own'); parent.send(found + parent.receive(wait=False))",
    )
    for number in range(5):
        started.service.send(number)
    assert started.next() == [0, 1, 2, 3, 4, "own"]


def test_its_messages_come_on_a_thread_of_its_own_which_may_close_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: SimpleQueue[bool] = SimpleQueue()
    ended: SimpleQueue[WorkerFailed] = SimpleQueue()

    def take(message: Any) -> None:
        heard.put(service.is_listening_here)
        service.close()

    work: Any = make_work(tmp_path, monkeypatch, "parent.next()", "parent.send(1)", "parent.next()")
    service = Service(work, None, on_message=take, on_end=ended.put)
    assert not service.is_listening_here
    service.send("now that it is known")
    assert heard.get(timeout=SECONDS)
    ended.get(timeout=SECONDS)
    service.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_parent_that_fails_on_a_message_learns_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: SimpleQueue[WorkerFailed] = SimpleQueue()

    def fail(message: Any) -> None:
        raise ValueError(message)

    work: Any = make_work(tmp_path, monkeypatch, "parent.send('odd')")
    service = Service(work, None, on_message=fail, on_end=ended.put)
    assert ended.get(timeout=SECONDS).code == 0
    service.close()


def test_output_of_libraries_is_no_message(start: Callable[..., Started]) -> None:
    started = start("print('{}', flush=True)", "parent.send(sys.stdin.read())", "parent.next()")
    assert started.next() == ""


def test_an_error_of_qdeploy_is_its_last_message(start: Callable[..., Started]) -> None:
    started = start(
        "from qdeploy.errors import OutOfMemory", "raise OutOfMemory('too big', where='here')"
    )
    said = {"kind": "OutOfMemory", "what": "too big", "where": "here", "fix": None}
    assert started.next() == {"error": said}
    assert started.end().code == 0


@POSIX
@pytest.mark.parametrize(
    ("last", "how"),
    [
        ("os.abort()", "was killed by SIGABRT"),
        ("sys.exit(3)", "exited with code 3"),
        ("1 / 0", "exited with code 1"),
    ],
)
def test_its_end_is_told_with_its_last_words(
    last: str, how: str, start: Callable[..., Started]
) -> None:
    end = start("print('hot', file=sys.stderr, flush=True)", last).end()
    assert end.how == how
    assert end.words[-1] == ("hot" if "/" not in last else "ZeroDivisionError: division by zero")


def test_closing_ends_it_with_the_processes_that_it_started(start: Callable[..., Started]) -> None:
    started = start(
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
        "parent.send([os.getpid(), left.pid])",
        "time.sleep(600)",
    )
    pids = started.next()
    started.service.close()
    started.service.close()
    assert all(is_gone(pid) for pid in pids)
    started.service.send("to nobody")


@POSIX
def test_it_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "worked.py").write_text(
        "import os, time\n"
        "def work(job, channel):\n"
        "    channel.send(os.getpid())\n"
        "    time.sleep(600)\n"
    )
    program = (
        "import worked\n"
        "from qdeploy.system.service import Service\n"
        "out = lambda m: print(m, flush=True)\n"
        "Service(worked.work, None, on_message=out, on_end=out)\n"
        "import time; time.sleep(600)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        assert is_gone(pid)
