"""Many streams with clients that vanish, stall and send garbage; and that the soak sees faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import qdeploy
from benchmarks.process_tree import Usage
from benchmarks.soak import Tally, growth, soak
from qdeploy.bundle import Bundle
from tests.support.serving import Script, chat_model, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_twenty_seconds_of_many_streams(tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    made = qdeploy.export(
        "qwen3-nano", target="cpu", profile="cpu-int4-openvino", output=tmp_path / "nano"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", str(made.path), "--minutes", "0.33",
         "--streams", "16"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_answers_of_others_are_seen(bundle: Bundle) -> None:
    """A server that gives each client the next of many answers, whatever it asks."""
    answers = Script(*map(str, range(10_000)), concurrency=4)
    with running(chat_model(bundle, answers), concurrency=4) as server:
        tally, usages = soak(server.url, os.getpid(), 0.02, 4)
    assert tally.counts["mixed"]
    assert tally.counts["leaked"] == 0
    assert "among others" in tally.faults[0]
    assert all(usage.files for usage in usages)


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        (Usage(150, 9, 9), "leaked: memory from 100"),
        (Usage(100, 14, 9), "leaked: threads from 9 to 14"),
        (Usage(100, 9, 12), "leaked: files from 9 to 12"),
    ],
    ids=["memory", "threads", "files"],
)
def test_leaks_are_seen(end: Usage, fault: str) -> None:
    tally, early = Tally(), Usage(100, 9, 9)
    growth([early, early, early], tally, memory=True)
    assert tally.faults == []
    growth([early, early, end], tally, memory=True)
    assert len(tally.faults) == 1
    assert tally.faults[0].startswith(fault)
