"""Energy, memory and conditions, from made-up files and stubs of vendors' libraries."""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qdeploy.bench import conditions, energy, memory, meters
from qdeploy.bench.conditions import Moment
from qdeploy.interface import Device
from qdeploy.targets import ASCEND, CUDA, DCU, INTEL_GPU, INTEL_NPU, ROCM, WEBGPU, Evidence, Target


def zone(folder: Path, number: int, name: str, microjoules: int, most: int = 10**9) -> Path:
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True, exist_ok=True)
    for file, value in (
        ("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", most),
    ):  # fmt: skip
        (place / file).write_text(f"{value}\n")
    return place


def test_rapl_adds_up_the_packages_and_nothing_else(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 1_000_000)
    zone(tmp_path, 1, "package-1", 5_000_000)
    zone(tmp_path, 2, "psys", 7_000_000)
    meter = meters.rapl(tmp_path)
    meter.start()
    zone(tmp_path, 0, "package-0", 3_000_000)
    zone(tmp_path, 1, "package-1", 5_500_000)
    zone(tmp_path, 2, "psys", 9_000_000)
    assert meter.stop() == pytest.approx(2.5)


def test_a_counter_that_began_again_is_still_counted(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 9_000_000, 10_000_000)
    meter = meters.rapl(tmp_path)
    meter.start()
    zone(tmp_path, 0, "package-0", 500_000, 10_000_000)
    assert meter.stop() == pytest.approx(1.5)


def test_counters_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, 0, "package-0", 1)

    def refuse(self: Path) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return "package-0"

    monkeypatch.setattr(Path, "read_text", lambda self, **_: refuse(self))
    with pytest.raises(meters.NoMeter, match="by root only"):
        meters.rapl(tmp_path)


def test_no_counters_at_all(tmp_path: Path) -> None:
    with pytest.raises(meters.NoMeter, match="no RAPL"):
        meters.rapl(tmp_path)


@pytest.fixture(autouse=True)
def unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment hides or renumbers a device."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES",
                 "ROCR_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"):  # fmt: skip
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

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return int(uuid.removeprefix("GPU-"))

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
    found = energy.find(CUDA, Device(f"cuda:{number}", "a GPU", "cuda"))
    assert used(found) == joules
    assert found.source.startswith(says)


def test_amd_smi_counts_steps_of_its_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([0, 1_000_000, 3_000_000])
    stub = SimpleNamespace(
        amdsmi_init=lambda: None,
        amdsmi_get_processor_handles=lambda: [0, 0, 1],
        amdsmi_get_energy_count=lambda handle: {
            "energy_accumulator": next(counter) * handle, "counter_resolution": 15.3,
        },
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "amdsmi", stub)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1,2")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    found = energy.find(ROCM, Device("cuda:0", "a GPU", "rocm"))
    assert used(found) == pytest.approx(30.6)


def test_dcmi_integrates_tenths_of_a_watt(monkeypatch: pytest.MonkeyPatch) -> None:
    def power(card: int, chip: int, out: Any) -> int:
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = 2500 if (card, chip) == (1, 0) else 0
        return 0

    library = SimpleNamespace(dcmi_init=lambda: 0, dcmi_get_device_power_info=power)
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(meters, "SAMPLE_SECONDS", 60)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = meters.dcmi(1, load=lambda name: library)
    meter.start()
    assert meter.stop() == pytest.approx(4 * 250)


@pytest.mark.parametrize(
    ("target", "evidence", "says"),
    [
        (CUDA, Evidence.DEVICE, "none: nvidia-ml-py is not installed"),
        (DCU, Evidence.DEVICE, "none: amdsmi is not installed"),
        (ASCEND, Evidence.DEVICE, "none: libdcmi.so"),
        (WEBGPU, Evidence.DEVICE, "none: no meter is known for webgpu"),
        (INTEL_NPU, Evidence.SIMULATED, "none: a stand-in's energy"),
        (INTEL_GPU, Evidence.DEVICE, "none: RAPL does not count a GPU that is not known"),
    ],
)
def test_without_a_meter_the_reason_is_told(
    target: Target, evidence: Evidence, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pynvml", "amdsmi"):
        monkeypatch.setitem(sys.modules, name, None)
    found = energy.find(target, Device("0", "a device", target.name, evidence=evidence))
    assert used(found) is None
    assert found.source.startswith(says)


def test_an_integrated_gpu_is_in_the_processors_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, 0, "package-0", 1)
    monkeypatch.setattr(energy, "rapl", lambda: meters.rapl(tmp_path))
    part = Device("GPU.0", "Intel(R) Iris(R) Xe Graphics (iGPU)", "intel-gpu")
    card = Device("GPU.1", "Intel(R) Arc(TM) B580 Graphics (dGPU)", "intel-gpu")
    assert energy.find(INTEL_GPU, part).source == "RAPL, processor packages"
    assert energy.find(INTEL_GPU, card).source.startswith("none: RAPL does not count")


def test_a_library_that_breaks_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=broken))
    found = energy.find(CUDA, Device("cuda:0", "a GPU", "cuda"))
    assert used(found) is None
    assert found.source == "none: RuntimeError: driver not loaded"


@pytest.mark.parametrize("good", [1, 2, 3, 4], ids=["start", "stop", "next start", "next stop"])
def test_a_counter_that_breaks_in_mid_run_ends_the_figure_and_no_more(good: int) -> None:
    reads = itertools.count(1)

    def read() -> list[tuple[float, float | None]]:
        if (number := next(reads)) > good:
            raise OSError("the driver is gone")
        return [(float(number), None)]

    found = energy.Energy(lambda: meters.Counters("a counter", read))
    assert found.source == "a counter"
    for _ in range(2):
        used(found)
    assert found.joules is None
    found.clear()
    assert found.joules is None
    assert found.source == "none: OSError: the driver is gone"


def test_power_that_cannot_be_read_between_start_and_stop_is_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meters, "SAMPLE_SECONDS", 0)
    broken = threading.Event()
    reads = itertools.count()

    def watts() -> float:
        if next(reads) == 2:  # the first of the thread
            broken.set()
            raise OSError("the bus is stuck")
        return 1.0

    found = energy.Energy(lambda: meters.Integral("a card", watts))
    with found:
        assert broken.wait(10)
    assert found.joules is None
    assert found.source == "none: OSError: the bus is stuck"


def test_what_ends_a_run_is_not_swallowed_with_the_meters_failures() -> None:
    found = energy.Energy(lambda: meters.Counters("a counter", lambda: [(1.0, None)]))
    with pytest.raises(ZeroDivisionError), found:
        raise ZeroDivisionError


def test_numbers_of_a_process(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  123456 kB\nThreads:\t7\nEmpty:\n")
    assert memory.status_number("VmHWM", status) == 123456
    assert memory.status_number("Threads", status) == 7
    assert memory.status_number("Empty", status) is None
    assert memory.status_number("Nothing", status) is None
    assert memory.status_number("VmHWM", tmp_path / "nowhere") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_the_peak_grows_with_what_is_used() -> None:
    before = memory.peak_resident_bytes()
    assert before is not None
    block = b"x" * (before + 2**24)
    after = memory.peak_resident_bytes()
    assert after is not None
    assert after >= len(block)


def test_jiffies_stolen_between_two_moments(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 2 3\n")
    begin = conditions.now(stat)
    assert (begin.stolen, begin.total) == (100, 1000)
    stat.write_text("cpu  150 0 150 750 0 0 0 150 50 0\n")
    assert conditions.steal(begin, conditions.now(stat)) == pytest.approx(0.25)
    assert conditions.steal(begin, begin) == 0


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    nothing = Moment(None, None, None)
    assert conditions.steal(nothing, nothing) is None
    assert conditions.load(nothing, nothing) is None
    assert conditions.now(tmp_path / "nowhere").total is None
