"""`qdeploy export --calibrate`, killed again and again: the finished codes are the same."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import tiny

KILLS = 20
TENTHS = 0.1


def start(model: Path, output: Path, cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "qdeploy", "export", str(model), "--target", "cpu",
         "--profile", "cpu-int4-openvino", "--calibrate", "--calibration-tokens", "512",
         "-o", str(output), "--force"],
        env={**os.environ, "QDEPLOY_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()


def codes(cache: Path) -> dict[str, str]:
    files = sorted((cache / "calibrations").glob("*/*"))
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.name != "lock"}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_kills_change_no_code_and_lose_no_layer(tmp_path: Path) -> None:
    """A kill comes at any moment of the calibration. What is finished afterwards has the bytes of
    a run without one, and no finished step is done again.
    """
    pytest.importorskip("openvino")
    layers = {"num_hidden_layers": 6, "hidden_size": 128, "intermediate_size": 256}
    model = tiny.write(tmp_path / "model", tiny.DENSE | layers)
    began = time.monotonic()
    finish(start(model, tmp_path / "whole", tmp_path / "cache"))
    whole, took = codes(tmp_path / "cache"), time.monotonic() - began
    moments, cache = random.Random(0), tmp_path / "killed"
    in_the_middle = steps = 0
    for _ in range(KILLS):
        process = start(model, tmp_path / "out", cache)
        time.sleep(moments.uniform(TENTHS, 1) * took)
        process.kill()
        process.communicate()
        found = list((cache / "calibrations").glob("*/journal.jsonl"))
        done = len(found[0].read_text().splitlines()) if found else 0
        if list((cache / "calibrations").glob("*/record.json")):
            finish(start(model, tmp_path / "out", cache))  # it tidies up
            assert codes(cache) == whole
            shutil.rmtree(cache)  # begin anew
            steps = 0
            continue
        assert done >= steps - 1  # the last line may be cut short
        steps = done
        in_the_middle += process.returncode == -signal.SIGKILL
    assert in_the_middle
    finish(start(model, tmp_path / "out", cache))
    assert codes(cache) == whole
