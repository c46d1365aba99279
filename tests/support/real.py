"""The real command with the real exporter and runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from qdeploy.system import info

QDEPLOY = (sys.executable, "-m", "qdeploy")
NEEDS_RUNTIME = pytest.mark.skipif(
    not find_spec("openvino_genai"), reason="needs qdeploy[openvino]"
)
NEEDS_INTEL_PROVIDER = pytest.mark.skipif(
    not find_spec("onnxruntime_ep_openvino") or info.cpu_vendor() != "Intel",
    reason="needs qdeploy[onnx-openvino] and an Intel CPU: OpenVINO's provider takes no other",
)
NEEDS_OPTIMUM = pytest.mark.skipif(not find_spec("optimum"), reason="needs qdeploy[optimum]")


def qdeploy(
    *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, with no terminal."""
    return subprocess.run(
        [*QDEPLOY, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )
