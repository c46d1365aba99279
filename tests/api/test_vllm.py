"""A real vLLM server: killed in mid-stream, it comes back; it is gone when qdeploy is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qdeploy import registry
from qdeploy.engines.supervisor import descendants
from qdeploy.errors import TargetUnavailable
from qdeploy.targets import CPU
from tests.support.real import qdeploy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

SECONDS = 30.0
PARENT = """
import os, signal, sys, threading, time
import qdeploy
from pathlib import Path
from qdeploy.engines.supervisor import descendants
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Request

model = qdeploy.load(sys.argv[1], backend="vllm", concurrency=4)
session = model.session
request = Request((5, 6, 7), 24)
alone = [token.id for token in session.generate(request)]
answers = [None] * 4

def ask(place):
    answers[place] = [token.id for token in session.generate(request)]

threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert answers == [alone] * 4, answers

stream = session.generate(Request((5, 6, 7), 900))
next(stream)
core = next(pid for pid in descendants(session.child.pid)
            if b"EngineCor" in Path(f"/proc/{pid}/comm").read_bytes())
os.kill(core, signal.SIGKILL)
try:
    for _ in stream:
        pass
except GenerationFailed as error:
    assert "while it was generating" in error.what, error
    assert Path(error.where).is_file()
else:
    raise AssertionError("the stream went on without an engine")
assert [token.id for token in session.generate(request)] == alone
print(session.child.pid, flush=True)
time.sleep(1000)
"""


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def test_it_comes_back_when_it_dies_and_is_gone_when_we_are(tmp_path: Path) -> None:
    try:
        registry.backend("vllm").devices(CPU)
    except TargetUnavailable as error:
        if "cpu" in os.environ.get("QDEPLOY_REQUIRE", ""):
            raise
        pytest.skip(error.reason)
    bundle = tmp_path / "bundle"
    options = ("--target", "cpu", "--profile", "cpu-int8-vllm", "-o", str(bundle))
    assert qdeploy("export", "qwen3-nano", *options).returncode == 0
    command = [sys.executable, "-c", PARENT, str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        supervisor = parent.stdout.readline()
        assert supervisor, "the parent failed; its error is above"
        pids = {int(supervisor), *descendants(int(supervisor))}
        assert len(pids) > 3
        parent.kill()
    deadline = time.monotonic() + SECONDS
    while left := alive(pids):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
