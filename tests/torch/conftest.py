"""What tests of the torch backend share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WHEEL = "torch-npu==2.14.0"


@pytest.fixture(scope="session")
def wheel(request: pytest.FixtureRequest) -> Path:
    """Huawei's package, 44 MB, kept in pytest's cache. It is read, never installed."""
    folder: Path = request.config.cache.mkdir("torch-npu")
    name = WHEEL.replace("-", "_").replace("==", "-") + "-*.whl"
    if not any(folder.glob(name)):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries", "0"]
        done = subprocess.run(
            [*command, "-d", folder, WHEEL], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{WHEEL} cannot be downloaded: {done.stderr.strip()[-300:]}")
    return next(folder.glob(name))
