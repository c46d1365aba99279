"""Engines as children: started, watched, started again, and ended with all of their processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from qdeploy.engines import child as module
from qdeploy.engines import process
from qdeploy.engines.child import Child
from qdeploy.engines.child_session import ChildSession
from qdeploy.engines.client import EngineClient
from qdeploy.engines.health import check_health
from qdeploy.engines.process import Launch
from qdeploy.errors import GenerationFailed, InputError
from qdeploy.interface import Limits, Placement, Request
from qdeploy.targets import Evidence

STUB = Path(__file__).parents[2] / "support" / "engine_process.py"
SECONDS = 20.0

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs process groups")


IN_FOLDER = "import os, sys; os.chdir(sys.argv[1]); os.execv(sys.executable, sys.argv[2:])"


def launch(folder: Path, *habits: str, **changed: object) -> Launch:
    start = (sys.executable, "-c", IN_FOLDER, str(folder), sys.executable, str(STUB))
    settings: dict[str, object] = {
        "name": "the stub",
        "command": lambda port: (*start, str(port), *habits),
        "check": check_health,
        "log": folder / "log.txt",
        "seconds": SECONDS,
        "grace": 2.0,
    }
    return Launch(**(settings | changed))  # type: ignore[arg-type]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a stub with habits; it is stopped at the end."""
    begun: list[Child] = []

    def get(*habits: str, **changed: object) -> Child:
        begun.append(Child(launch(tmp_path, *habits, **changed)))
        begun[-1].start()
        return begun[-1]

    yield get
    for one in begun:
        one.stop()


def ask(url: str) -> int:
    """The process id of the engine."""
    with urllib.request.urlopen(f"{url}/pid", timeout=SECONDS) as answer:  # noqa: S310
        return int(answer.read())


def ask_child(child: Child) -> int:
    with child.serving() as url:
        return ask(url)


def fail_while(child: Child, act: Callable[[str], object]) -> None:
    """A request that fails after something happens to the engine at a URL."""
    with child.serving() as url:
        with contextlib.suppress(OSError):
            act(url)
        raise GenerationFailed("the connection broke")


def kill(url: str) -> None:
    os.kill(ask(url), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def orphan(log: Path) -> int:
    found = re.search(r"orphan (\d+)", log.read_text())
    assert found
    return int(found[1])


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
        wait_until(lambda: not child.is_ready)
    with pytest.raises(GenerationFailed, match="3 times within 10 minutes"):
        ask_child(child)


def test_what_one_said_that_does_not_start_is_in_the_error(
    begin: Callable[..., Child], tmp_path: Path
) -> None:
    with pytest.raises(GenerationFailed) as caught:
        begin("broken")
    assert caught.value.what == (
        "the stub exited with code 1 while it was starting: ValueError: the model is too large"
    )
    assert caught.value.where == str(tmp_path / "log.txt")


def test_a_cause_that_is_known_is_told_instead(begin: Callable[..., Child]) -> None:
    def explain(lines: tuple[str, ...]) -> InputError | None:
        return InputError("too large", fix="a smaller one") if "too large" in lines[-1] else None

    with pytest.raises(InputError, match="too large"):
        begin("broken", explain=explain)


def test_one_that_is_not_ready_in_time_is_ended(begin: Callable[..., Child]) -> None:
    def never(url: str) -> None:
        raise process.NotReady

    with pytest.raises(GenerationFailed, match=r"was not ready within 0.3 s"):
        begin(check=never, seconds=0.3)


def test_a_port_that_another_program_took_is_replaced(
    begin: Callable[..., Child], tmp_path: Path
) -> None:
    assert is_alive(ask_child(begin("port-taken")))
    assert "already in use" in (tmp_path / "log.txt").read_text()


def test_a_program_that_is_not_there_is_an_error(begin: Callable[..., Child]) -> None:
    with pytest.raises(GenerationFailed, match="No such file"):
        begin(command=lambda port: ("/nowhere/python", str(port)))


PARENT = """
import sys, time
from pathlib import Path
from qdeploy.engines.child import Child
from tests.unit.engines.test_child import ask_child, launch
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


@pytest.mark.parametrize(("patience", "starts"), [(60.0, 3), (0.0, 2)])
def test_a_new_start_that_fails_is_tried_again_while_there_is_patience(
    patience: float,
    starts: int,
    begin: Callable[..., Child],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    ports, works = [], launch(tmp_path).command

    def command(port: int) -> Sequence[str]:
        ports.append(port)
        return (sys.executable, "-c", "raise SystemExit(9)") if len(ports) == 2 else works(port)

    child = begin(command=command, patience=patience)
    with pytest.raises(GenerationFailed, match="while it was generating"):
        fail_while(child, kill)
    if patience:
        assert is_alive(ask_child(child))
    else:
        with pytest.raises(GenerationFailed, match="exited with code 9"):
            ask_child(child)
    assert len(ports) == starts
