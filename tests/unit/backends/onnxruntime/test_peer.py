"""onnxruntime-genai as a peer: it computes with the number of threads that it is given."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from qdeploy.deploy.export import export, prepare
from qdeploy.interface import Progress

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("onnxruntime_genai"), reason="needs qdeploy[onnx]"),
    pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc"),
]
COUNT = """
import os, sys
from pathlib import Path
from qdeploy.backends.onnxruntime.peer import PEER
run = PEER.load(Path(sys.argv[1]), "CPUExecutionProvider", int(sys.argv[2]))
start, stamps = run([1, 2, 3], 4)
assert start < stamps[0] <= stamps[-1] and len(stamps) == 4
print(len(os.listdir("/proc/self/task")))
"""


def test_it_computes_with_the_given_number_of_threads(tmp_path: Path) -> None:
    resolved, exporter = prepare("qwen3-nano", "cpu", profile_name="cpu-int4")
    export(resolved, exporter, tmp_path / "nano", Progress(), force=False)
    one, five = (
        int(subprocess.check_output([sys.executable, "-c", COUNT, tmp_path / "nano", number]))
        for number in ("1", "5")
    )
    assert five - one == 4
