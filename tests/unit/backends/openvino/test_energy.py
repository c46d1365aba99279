"""An integrated GPU's energy is the processor package's; a card's is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.bench import energy
from qdeploy.interface import Device
from qdeploy.system import energy as meters
from qdeploy.targets import INTEL_GPU
from tests.support.rapl import zone


def test_an_integrated_gpu_is_in_the_processors_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, 0, "package-0", 1)
    rapl = meters.rapl(tmp_path)
    monkeypatch.setattr(meters, "rapl", lambda: rapl)
    part = Device("GPU.0", "Intel(R) Iris(R) Xe Graphics (iGPU)", "intel-gpu")
    card = Device("GPU.1", "Intel(R) Arc(TM) B580 Graphics (dGPU)", "intel-gpu")
    assert energy.find(INTEL_GPU, [part]).source == "RAPL, processor packages"
    assert energy.find(INTEL_GPU, [card]).source.startswith("none: RAPL does not count")
