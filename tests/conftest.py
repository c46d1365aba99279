"""A fixture for tests of every kind."""

from __future__ import annotations

import pytest

from qdeploy.forecast import hardware
from qdeploy.forecast.hardware import DeviceSpec


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> DeviceSpec:
    """Make up what this CPU was measured to do."""
    fixed = DeviceSpec(
        name=hardware.THIS_CPU, targets=("intel-cpu", "cpu"), memory_bytes=16e9,
        bytes_per_s=20e9, fp32_flops=200e9, arithmetic="matrix", sources={"all": "a test"},
    )  # fmt: skip
    monkeypatch.setattr(hardware, "this_cpu", lambda: fixed)
    return fixed
