"""An installation with `qdeploy[torch]` alone: no other runtime, and no exporter's libraries.

The other packages are hidden rather than left out of an environment, since torch takes gigabytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qdeploy.backends.torch.accelerators.cpu import Cpu
from tests.cli.test_without_runtimes import RUNTIMES
from tests.support.absent import without
from tests.support.command import Command

pytest.importorskip("torch")

ASK = ("run", "qwen3-nano", "What is 4826 + 735?", "--think", "--seed", "1", "--target", "cpu")


@pytest.mark.slow
def test_a_model_is_exported_and_answers_on_the_cpu(qdeploy: Command, tmp_path: Path) -> None:
    site = without(tmp_path / "site", set(RUNTIMES) - {"torch"})
    path = os.pathsep.join([site, qdeploy.environment()["PYTHONPATH"]])
    command: tuple[str, ...] = ASK
    if not Cpu.is_fast_here():
        qdeploy(*command, PYTHONPATH=path).fails(3, "qdeploy[onnx]", "--backend torch")
        command = (*ASK, "--backend", "torch")
    done = qdeploy(*command, PYTHONPATH=path)
    assert (done.code, done.stdout) == (0, "5561\n"), done.stderr
    assert "cpu · torch" in done.stderr
