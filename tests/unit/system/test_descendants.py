"""Processes that a process started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qdeploy.bench.memory import peak_resident_bytes, status_number
from qdeploy.system.descendants import descendants

GRANDPARENT = (
    "import subprocess, sys; "
    "subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_and_their_children_are_found_while_they_live() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GRANDPARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()  # from the grandchild, so both run
        found = descendants(child.pid)
        assert len(found) == 1
        assert {child.pid, *found} <= set(descendants(os.getpid()))
        alone = status_number("VmHWM")
        assert alone is not None
        assert (peak_resident_bytes() or 0) > 1024 * alone + 2**20
        child.stdin.write(b"\n")
        child.stdin.close()
    assert not {child.pid, *found} & set(descendants(os.getpid()))


def test_a_process_that_has_gone_has_none() -> None:
    assert descendants(2**30) == []
