"""The worker protocol: messages, the ways in which a worker ends, and that no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import CheckFailed, GenerationFailed, QdeployError, TargetUnavailable
from qdeploy.system import worker
from qdeploy.system.worker import WorkerFailed, run_worker
from tests.support.workers import make_work

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
RunLines = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunLines:
    """Return a function that runs lines of Python in a worker."""

    def run_lines(*lines: str, job: Any = None, seconds: float | None = 30, **options: Any) -> Any:
        work = make_work(tmp_path, monkeypatch, *lines)
        return run_worker(work, job, seconds=seconds, **options)

    return run_lines


def is_gone(pid: int, seconds: float = 10) -> bool:
    """Return whether the process ends in time; a zombie counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_the_job_arrives_and_stages_events_and_the_result_come_back(run: RunLines) -> None:
    heard: list[Any] = []
    result = run(
        "parent.stage('quantizing é')",
        "parent.send(number=1, path=sys.path[0])",
        "return [job, sys.argv[1:]]",
        job={"汉": [1, None]}, on_stage=heard.append, on_event=heard.append,
    )  # fmt: skip
    assert heard == ["quantizing é", {"number": 1, "path": sys.path[0]}]
    assert result == [{"汉": [1, None]}, []]


def test_a_job_and_a_result_larger_than_a_pipe_arrive(run: RunLines) -> None:
    assert run("return job + '.'", job="x" * 2**20) == "x" * 2**20 + "."


def test_a_worker_has_this_import_path(run: RunLines) -> None:
    assert run("return sys.path") == sys.path


def test_modules_in_the_working_directory_are_not_imported(run: RunLines, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("importlib", "json", "qdeploy"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    assert Path(run("return os.getcwd()", folder=folder)).samefile(folder)


def test_a_worker_has_the_callers_environment_and_more(
    run: RunLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", "1")
    names = ["FROM_HERE", "AND_MORE"]
    lines = "return [os.environ[name] for name in job]"
    assert run(lines, job=names, environment={"AND_MORE": "2"}) == ["1", "2"]


@pytest.mark.parametrize(
    "line",
    [
        "print('{\"result\": 2}', flush=True)",
        "os.write(1, b'\\xff driver: hello\\n')",
        "import atexit; atexit.register(print, 'driver: bye')",
        "print('noise\\n' * 2**18, file=sys.stderr)",
        "subprocess.run([sys.executable, '-c', 'print(2)'], check=True)",
    ],
)
def test_output_of_libraries_is_no_message_and_never_blocks(line: str, run: RunLines) -> None:
    assert run(line, "return 1") == 1


def test_a_library_that_reads_standard_input_finds_it_empty(run: RunLines) -> None:
    assert run("parent.stage('one')", "return [sys.stdin.read(), parent.stage('two')]") == [
        "",
        None,
    ]


def test_ticks_are_called_during_the_work(run: RunLines) -> None:
    ticks: list[float] = []
    run("time.sleep(1)", on_tick=lambda: ticks.append(time.monotonic()))
    assert len(ticks) >= 2


def test_a_worker_waits_until_the_parent_has_taken_an_event(run: RunLines) -> None:
    times: list[float] = []

    def take(event: dict[str, Any]) -> None:
        time.sleep(0.5)
        times.append(time.monotonic())

    received = run("parent.send()", "return time.monotonic()", on_event=take)
    assert received >= times[0]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("errors.CheckFailed('it is wrong', where='a.gate')", CheckFailed),
        ("errors.TargetUnavailable('it is absent', 'buy one')", TargetUnavailable),
        ("type('Own', (errors.GenerationFailed,), {})('it broke')", GenerationFailed),
    ],
)
def test_an_error_of_qdeploy_is_raised_in_the_parent(
    raised: str, kind: type[QdeployError], run: RunLines
) -> None:
    with pytest.raises(kind) as caught:
        run("from qdeploy import errors", f"raise {raised}")
    assert type(caught.value) is kind
    assert caught.value.what.startswith("it ")
    assert (caught.value.where == "a.gate") == (kind is CheckFailed)
    assert (caught.value.fix == "buy one") == (kind is TargetUnavailable)


@POSIX
@pytest.mark.parametrize(
    ("last", "how", "code"),
    [
        ("sys.exit(3)", "exited with code 3", 3),
        ("os._exit(0)", "exited with code 0", 0),
        ("os.abort()", "was killed by SIGABRT", -6),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL", -9),
        ("1 / 0", "exited with code 1", 1),
    ],
)
def test_any_other_end_is_reported_with_the_stage_and_the_last_lines(
    last: str, how: str, code: int, run: RunLines
) -> None:
    with pytest.raises(WorkerFailed, match=f"^{how}: ") as caught:
        run(
            "parent.stage('loading')",
            "for n in range(100): print('line', n, file=sys.stderr, flush=True)",
            last,
        )
    assert (caught.value.how, caught.value.code) == (how, code)
    assert caught.value.stage == "loading"
    assert len(caught.value.words) == worker.LAST_WORDS
    expected = "ZeroDivisionError: division by zero" if code == 1 else "line 99"
    assert caught.value.words[-1] == expected


@POSIX
def test_a_signal_without_a_name_is_reported_by_its_number() -> None:
    assert worker.ending(-99) == "was killed by signal 99"


@POSIX
def test_a_crash_after_the_result_is_a_crash_where_the_exit_counts(run: RunLines) -> None:
    crash = "import atexit; atexit.register(os.abort)"
    with pytest.raises(WorkerFailed, match="was killed by SIGABRT"):
        run(crash, "return 1")
    assert run(crash, "return 1", until_exit=False) == 1


def test_a_hang_ends_at_the_deadline(run: RunLines) -> None:
    with pytest.raises(WorkerFailed, match="did not answer within 3 s") as caught:
        run("parent.stage('loading')", "time.sleep(600)", seconds=3)
    assert (caught.value.stage, caught.value.code) == ("loading", None)


def test_a_hang_at_exit_ends_at_the_deadline(run: RunLines) -> None:
    hang = "import atexit; atexit.register(time.sleep, 600)"
    with pytest.raises(WorkerFailed, match="did not answer within 3 s"):
        run(hang, "return 1", seconds=3)


LEAVES_ONE = (
    "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
    "parent.send(pids=[os.getpid(), left.pid])",
)
"""Starts a process, which inherits the worker's standard output, and sends both ids."""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
class TestNoProcessIsLeft:
    @pytest.fixture
    def pids(self) -> list[int]:
        return []

    def test_a_process_that_a_driver_leaves(self, run: RunLines, pids: list[int]) -> None:
        begin = time.monotonic()
        assert run(*LEAVES_ONE, "return 1", on_event=lambda e: pids.extend(e["pids"])) == 1
        assert time.monotonic() - begin < 10
        assert len(pids) == 2
        assert all(map(is_gone, pids))

    def test_after_a_hang(self, run: RunLines, pids: list[int]) -> None:
        with pytest.raises(WorkerFailed):
            run(
                *LEAVES_ONE, "time.sleep(600)",
                seconds=3, on_event=lambda e: pids.extend(e["pids"]),
            )  # fmt: skip
        assert len(pids) == 2
        assert all(map(is_gone, pids))

    def test_after_an_interrupt(self, run: RunLines, pids: list[int]) -> None:
        def interrupt(event: dict[str, Any]) -> None:
            pids.extend(event["pids"])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(*LEAVES_ONE, "time.sleep(600)", on_event=interrupt)
        assert len(pids) == 2
        assert all(map(is_gone, pids))

    def test_when_the_parent_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = make_work(tmp_path, monkeypatch, *LEAVES_ONE, "time.sleep(600)")
        caller = (
            "import sys; sys.path[:] = sys.argv[1:]\n"
            "from qdeploy.system.worker import run_worker\n"
            f"from {work.__module__} import work\n"
            "run_worker(work, None, on_event=lambda e: print(*e['pids'], flush=True))\n"
        )
        command = [sys.executable, "-c", caller, *sys.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == 2
            os.kill(pids[0], 0)
            parent.send_signal(signal.SIGKILL)
        assert all(map(is_gone, pids))
