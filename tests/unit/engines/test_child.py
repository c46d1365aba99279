"""Engines as children: watched, started again, and ended with all of their processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from qdeploy.engines import child as module
from qdeploy.engines import process
from qdeploy.engines.child import Child
from qdeploy.engines.child_session import ChildSession
from qdeploy.engines.client import EngineClient
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Limits, Placement, Request
from qdeploy.targets import Evidence
from tests.support.engine_child import (
    ask,
    ask_child,
    fail_while,
    is_alive,
    kill,
    orphan,
    wait_until,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs process groups")


def test_it_serves_on_loopback_until_it_is_stopped(begin: Callable[..., Child]) -> None:
    child = begin()
    with child.serving() as url:
        assert url.startswith("http://127.0.0.1:")
        pid = ask(url)
    assert is_alive(pid)
    assert child.is_ready
    child.stop()
    assert not is_alive(pid)
    assert child.pid is None
    with pytest.raises(GenerationFailed, match="was stopped"):
        ask_child(child)


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux")
def test_stopping_it_ends_what_it_started_and_what_ignores_the_request(
    begin: Callable[..., Child], tmp_path: Path
) -> None:
    child = begin("orphan", "stubborn", grace=0.2)
    pids = ask_child(child), orphan(tmp_path / "log.txt")
    assert all(map(is_alive, pids))
    child.stop()
    assert not any(map(is_alive, pids))


def test_a_request_that_runs_when_it_dies_is_told_and_the_next_one_is_served(
    begin: Callable[..., Child], tmp_path: Path
) -> None:
    child = begin()
    first = ask_child(child)
    with pytest.raises(GenerationFailed) as caught:
        fail_while(child, kill)
    assert caught.value.what == "the stub was killed by SIGKILL while it was generating"
    assert "started anew" in str(caught.value.fix)
    assert caught.value.where == str(tmp_path / "log.txt")
    second = ask_child(child)
    assert second != first


def test_one_that_has_just_died_is_not_given_to_the_next_request(
    begin: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = process.EngineProcess.watch

    def watch_late(self: process.EngineProcess) -> None:
        watch(self)
        time.sleep(1)

    monkeypatch.setattr(process.EngineProcess, "watch", watch_late)
    child = begin()
    first = ask_child(child)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: child.pid is None)
    assert not child.is_ready
    assert ask_child(child) != first


def test_a_request_that_a_dying_one_has_not_seen_is_answered_by_the_next_one(
    begin: Callable[..., Child],
) -> None:
    child = begin("deaf")
    with (
        ExitStack() as resources,
        ChildSession(
            child,
            EngineClient,
            Limits(16, 10),
            model="m",
            device="stub",
            placement=lambda: Placement(("stub",), Evidence.CONTRACT, "written down"),
            resources=resources,
        ) as session,
    ):
        first = child.pid
        for _ in range(2):
            assert [token.id for token in session.generate(Request((5, 6), 2))] == [7, 8]
        assert child.pid != first


def test_an_error_of_an_engine_that_is_well_is_left_as_it_is(begin: Callable[..., Child]) -> None:
    child = begin()
    with pytest.raises(GenerationFailed, match="the connection broke"):
        fail_while(child, ask)


def test_one_that_says_it_cannot_go_on_is_ended_and_started_again(
    begin: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CHECK_SECONDS", 0.1)
    child = begin("sick")
    first = child.pid
    with pytest.raises(GenerationFailed, match=r"said that it cannot go on \(/health answered 503"):
        fail_while(child, ask)
    with child.serving():
        assert child.pid != first


def test_one_that_dies_again_and_again_is_given_up(
    begin: Callable[..., Child],
) -> None:
    child = begin()
    for _ in range(module.MOST_DEATHS):
        with pytest.raises(GenerationFailed, match="killed by SIGKILL"):
            fail_while(child, kill)
    with pytest.raises(GenerationFailed, match="3 times within 10 minutes"):
        ask_child(child)


PARENT = """
import sys, time
from pathlib import Path
from qdeploy.engines.child import Child
from tests.support.engine_child import ask_child, launch
child = Child(launch(Path(sys.argv[1]), "orphan", "stubborn", grace=0.2))
child.start()
print(child.pid, ask_child(child), flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux")
def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = [*map(int, parent.stdout.readline().split()), orphan(tmp_path / "log.txt")]
        assert all(map(is_alive, pids))
        parent.kill()
    wait_until(lambda: not any(map(is_alive, pids)))
