"""An extension of torch that cannot be loaded here, as torch-npu without CANN, for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

EXTENSION = 'raise ImportError("libhccl.so: cannot open shared object file")\n'


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the broken extension on its path."""
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with an extension that torch finds, and that fails to import."""
    (tmp_path / "broken_npu.py").write_text(EXTENSION)
    about = tmp_path / "broken_npu-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-npu\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[torch.backends]\nbroken_npu = broken_npu:load\n")
    return tmp_path


@pytest.mark.slow
def test_an_extension_without_its_vendors_libraries_does_not_break_torch(broken: Path) -> None:
    alone = run(broken, "import torch")
    assert "Failed to load the backend extension: broken_npu" in alone.stderr
    code = (
        "import os; from qdeploy.verification.libraries import require\n"
        "print(require('torch').ones(2).sum().item())\n"
        "print(os.environ.get('TORCH_DEVICE_BACKEND_AUTOLOAD'))"
    )
    shielded = run(broken, code)
    assert shielded.stdout == "2.0\nNone\n", shielded.stderr
