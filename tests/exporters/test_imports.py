"""What an export imports: no framework and no runtime, whatever the format.

The package onnx is neither: it is the library that writes ONNX files.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.exporting import PROFILES, Work
from tests.support.tiny import DENSE


@pytest.mark.parametrize("profile", PROFILES)
def test_no_framework_is_needed(profile: str, made: Callable[..., Path], tmp_path: Path) -> None:
    imported = set(Work(profile, made(DENSE)).whole(tmp_path / "bundle")["imported"])
    assert "numpy" in imported
    assert not imported & {"openvino", "onnxruntime", "torch", "transformers"}


def test_importing_the_exporter_is_cheap() -> None:
    code = "import sys, qdeploy.exporters.native; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
