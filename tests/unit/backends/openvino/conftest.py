"""OpenVINO on a machine whose environment limits nothing."""

from __future__ import annotations

import pytest

from qdeploy.backends.openvino import isa


@pytest.fixture(autouse=True)
def _every_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable limit the instruction sets of oneDNN."""
    for name in isa.VARIABLES:
        monkeypatch.delenv(name, raising=False)
