"""A new environment with `qdeploy[openvino]` alone runs a bundle, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import ROOT
from tests.support.real import NEEDS_RUNTIME

pytestmark = [pytest.mark.slow, NEEDS_RUNTIME]


def test_a_bundle_runs_without_torch(nano_bundle: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    bin_folder = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = str(bin_folder / "python")
    install = [python, "-m", "pip", "install", "--quiet", f"{ROOT}[openvino]"]
    subprocess.run(install, check=True, cwd=tmp_path, timeout=600)

    torch = [python, "-c", "import torch"]
    assert subprocess.run(torch, cwd=tmp_path, capture_output=True, check=False).returncode != 0
    qdeploy = str(bin_folder / "qdeploy")
    question = [qdeploy, "run", str(nano_bundle), "What is 4826 + 735?", "--think"]
    done = subprocess.run(
        [*question, "--seed", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5561\n"
    assert "ran on CPU" in done.stderr
