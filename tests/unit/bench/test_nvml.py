"""The energy of NVIDIA's GPUs, by a stub of NVML: the GPU that CUDA runs on, and no other."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import pytest

from qdeploy.bench import energy
from qdeploy.interface import Device
from qdeploy.targets import CUDA


@pytest.fixture(autouse=True)
def unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment hides or renumbers a device."""
    for name in (*CUDA.masks, "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


class Nvml:
    """NVIDIA's library with made-up GPUs: each run takes as many joules as its index, and half."""

    def __init__(self, gpus: int) -> None:
        self._gpus, self._counts = gpus, itertools.count()

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self._gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:  # noqa: N802
        uuid = f"GPU-{handle}abc"
        return uuid.encode() if handle % 2 else uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        return next(self._counts) * (1000 * handle + 500)


def used(found: energy.Energy) -> float | None:
    """The joules of one run."""
    with found:
        pass
    return found.joules


@pytest.mark.parametrize(
    ("gpus", "environment", "number", "joules", "says"),
    [
        (1, {}, 0, 0.5, "NVML, the GPU"),
        (2, {}, 0, None, "none: which GPU it was is not known; set CUDA_DEVICE_ORDER=PCI_BUS_ID"),
        (4, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 3, 3.5, "NVML, the GPU"),
        (4, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2, 1"}, 0, 2.5, "NVML"),
        (4, {"CUDA_VISIBLE_DEVICES": "1,GPU-3"}, 1, 3.5, "NVML, the GPU"),
        (1, {"CUDA_VISIBLE_DEVICES": "MIG-5"}, 0, None, "none: the device is chosen as 'MIG-5'"),
        (4, {"CUDA_VISIBLE_DEVICES": "GPU-2a,0"}, 0, 2.5, "NVML, the GPU"),
        (4, {"CUDA_VISIBLE_DEVICES": "GPU-7"}, 0, None, "none: the device is chosen as 'GPU-7'"),
        (1, {"CUDA_VISIBLE_DEVICES": "0"}, 1, None, "none: CUDA_VISIBLE_DEVICES=0 has no device 1"),
    ],
)
def test_nvml_counts_millijoules_of_the_gpu_that_worked(
    gpus: int, environment: dict[str, str], number: int, joules: float | None, says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(gpus))
    found = energy.find(CUDA, [Device(f"cuda:{number}", "a GPU", "cuda")])
    assert used(found) == joules
    assert found.source.startswith(says)


def test_a_library_that_breaks_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=broken))
    found = energy.find(CUDA, [Device("cuda:0", "a GPU", "cuda")])
    assert used(found) is None
    assert found.source == "none: RuntimeError: driver not loaded"
