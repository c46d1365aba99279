"""The benchmark of servers beside each other runs as it is documented, and compares all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import qdeploy
from benchmarks.serving import compare

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="run on Linux alone so far")
def test_a_short_one(tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    made = qdeploy.export(
        "qwen3-nano", target="cpu", profile="cpu-int4-openvino", output=tmp_path / "nano"
    )
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", str(made.path), "--streams", "1,2",
         "--rounds", "1", "--prompt", "16", "--new", "4", "--json", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (figures,) = json.loads(file.read_text())
    assert list(figures) == ["ours", "bare", "cached"]
    for speeds in figures.values():
        assert list(speeds) == ["1", "2"]
        assert all(speed > 0 for speed in speeds.values())
    assert "| streams | ours | bare | cached |" in done.stdout


def test_ratios_are_to_the_best_other_of_the_same_round() -> None:
    rounds = [
        {"ours": {1: 10.0}, "bare": {1: 8.0}, "cached": {1: 5.0}},
        {"ours": {1: 20.0}, "bare": {1: 10.0}, "cached": {1: 16.0}},
        {"ours": {1: 9.0}, "bare": {1: 10.0}, "cached": {1: 1.0}},
    ]
    assert list(compare(rounds, [1]))[2:] == ["| 1 | 10.0 | 10.0 | 5.0 | 1.25 (1.25, 1.25, 0.90) |"]
