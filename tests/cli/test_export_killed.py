"""The optimum exporter works in worker processes: none of them outlives the command."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import Command
from tests.support.real import NEEDS_OPTIMUM

PATIENCE_SECONDS = 120

pytestmark = [
    pytest.mark.slow,
    NEEDS_OPTIMUM,
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks into Linux's /proc"),
]


def working_in(folder: Path) -> list[int]:
    """Return the ids of processes whose working directory is below *folder*."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            inside = entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder)
        except OSError:  # it has ended, or belongs to another user
            continue
        if inside:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_and_no_output_is_left(
    how: signal.Signals, qdeploy: Command, here: Path
) -> None:
    process = qdeploy.start(
        "export", "qwen3-nano", "--target", "intel-cpu", "--exporter", "optimum", "-o", "deep/out"
    )
    end = time.monotonic() + PATIENCE_SECONDS
    while not working_in(here / "deep"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)  # some way into the work
    os.kill(process.pid, how)
    process.communicate(timeout=PATIENCE_SECONDS)
    while working_in(here / "deep"):
        assert time.monotonic() < end, "a worker outlived the command"
        time.sleep(0.05)
    left = [p.name for p in (here / "deep").iterdir()]
    assert "out" not in left
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert left == []
