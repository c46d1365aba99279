"""Memory and conditions of a process, from made-up files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qdeploy.bench import conditions, memory
from qdeploy.bench.conditions import Moment


def test_numbers_of_a_process(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  123456 kB\nThreads:\t7\nEmpty:\n")
    assert memory.status_number("VmHWM", status) == 123456
    assert memory.status_number("Threads", status) == 7
    assert memory.status_number("Empty", status) is None
    assert memory.status_number("Nothing", status) is None
    assert memory.status_number("VmHWM", tmp_path / "nowhere") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_the_peak_grows_with_what_is_used() -> None:
    before = memory.peak_resident_bytes()
    assert before is not None
    block = b"x" * (before + 2**24)
    after = memory.peak_resident_bytes()
    assert after is not None
    assert after >= len(block)


def test_jiffies_stolen_between_two_moments(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 2 3\n")
    begin = conditions.now(stat)
    assert (begin.stolen, begin.total) == (100, 1000)
    stat.write_text("cpu  150 0 150 750 0 0 0 150 50 0\n")
    assert conditions.steal(begin, conditions.now(stat)) == pytest.approx(0.25)
    assert conditions.steal(begin, begin) == 0


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    nothing = Moment(None, None, None)
    assert conditions.steal(nothing, nothing) is None
    assert conditions.load(nothing, nothing) is None
    assert conditions.now(tmp_path / "nowhere").total is None
