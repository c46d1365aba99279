"""Asking a child process: which of its output is the answer, and what is left when it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from qdeploy.system import probing

LEAVES_ONE = """\
import os, subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({pid!r}, "w").write(str(left.pid))
"""
"""Starts a process, which has its stdout, and tells its id."""


def ask(program: str, seconds: float = 20.0) -> object:
    return probing.run([sys.executable, "-c", program], seconds)


@pytest.mark.parametrize(
    "program",
    [
        "print('driver: hello'); print('[1]')",
        "print('[1]'); print('driver: bye'); print(3)",
        "import atexit; atexit.register(print, 'driver: bye'); print('[1]')",
        "import sys; print('[1]'); print('{}', file=sys.stderr); sys.stdout.buffer.write(b'\\xff')",
    ],
)
def test_a_driver_may_print_before_the_answer_and_after(program: str) -> None:
    assert ask(program) == [1]


def test_the_last_answer_counts() -> None:
    assert ask("print('[1]'); print('[2]')") == [2]


@pytest.mark.parametrize("program", ["", "print('3')", "print('driver: hello')"])
def test_without_an_answer_what_was_said_is_told(program: str) -> None:
    with pytest.raises(probing.ProbeFailed, match="answered"):
        ask(program)


def test_a_crash_is_told_with_the_last_complaint() -> None:
    with pytest.raises(probing.ProbeFailed, match="exited with code 1: no such symbol"):
        ask("print('[1]'); raise SystemExit('no such symbol')")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
class TestLeftProcesses:
    def test_one_that_outlives_the_answer_neither_delays_it_nor_stays(self, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        began = time.monotonic()
        assert ask(LEAVES_ONE.format(pid=str(file)) + "print('[1]')") == [1]
        assert time.monotonic() - began < 10
        assert is_gone(int(file.read_text()))

    def test_none_stays_when_there_is_no_answer_in_time(self, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        with pytest.raises(probing.ProbeFailed, match="did not answer within 4 s"):
            ask(LEAVES_ONE.format(pid=str(file)) + "time.sleep(600)", seconds=4.0)
        assert is_gone(int(file.read_text()))


def is_gone(pid: int) -> bool:
    """Whether the process ends within a second, or is dead and nobody has asked for its code."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    return False
