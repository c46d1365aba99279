"""Energy, memory and conditions, from made-up files and stubs of vendors' libraries."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qdeploy import targets
from qdeploy.bench import conditions, energy, memory
from qdeploy.bench.conditions import Moment
from qdeploy.interface import Device
from qdeploy.targets import Evidence, Target


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
    meter = energy.rapl(tmp_path)
    meter.start()
    zone(tmp_path, 0, "package-0", 3_000_000)
    zone(tmp_path, 1, "package-1", 5_500_000)
    zone(tmp_path, 2, "psys", 9_000_000)
    assert meter.stop() == pytest.approx(2.5)


def test_a_counter_that_began_again_is_still_counted(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 9_000_000, 10_000_000)
    meter = energy.rapl(tmp_path)
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
    with pytest.raises(energy.NoMeter, match="by root only"):
        energy.rapl(tmp_path)


def test_no_counters_at_all(tmp_path: Path) -> None:
    with pytest.raises(energy.NoMeter, match="no RAPL"):
        energy.rapl(tmp_path)


def test_nvml_counts_millijoules(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([1000, 2000, 4500])
    stub = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"gpu {index}",
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(counter) * (handle == "gpu 3"),
    )
    monkeypatch.setitem(sys.modules, "pynvml", stub)
    meter, source = energy.find(targets.CUDA, Device("cuda:3", "a GPU", "cuda"))
    assert source == "NVML, the GPU"
    assert meter is not None
    meter.start()
    assert meter.stop() == pytest.approx(2.5)


def test_amd_smi_counts_steps_of_its_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([0, 1_000_000, 3_000_000])
    stub = SimpleNamespace(
        amdsmi_init=lambda: None,
        amdsmi_get_processor_handles=lambda: ["gpu 0"],
        amdsmi_get_energy_count=lambda handle: {
            "energy_accumulator": next(counter), "counter_resolution": 15.3,
        },
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "amdsmi", stub)
    meter, _ = energy.find(targets.ROCM, Device("cuda:0", "a GPU", "rocm"))
    assert meter is not None
    meter.start()
    assert meter.stop() == pytest.approx(30.6)


def test_dcmi_integrates_tenths_of_a_watt(monkeypatch: pytest.MonkeyPatch) -> None:
    def power(card: int, chip: int, out: Any) -> int:
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = 2500 if (card, chip) == (1, 0) else 0
        return 0

    library = SimpleNamespace(dcmi_init=lambda: 0, dcmi_get_device_power_info=power)
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 60)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = energy.dcmi(1, load=lambda name: library)
    meter.start()
    assert meter.stop() == pytest.approx(4 * 250)


@pytest.mark.parametrize(
    ("target", "evidence", "says"),
    [
        (targets.CUDA, Evidence.DEVICE, "none: nvidia-ml-py is not installed"),
        (targets.DCU, Evidence.DEVICE, "none: amdsmi is not installed"),
        (targets.ASCEND, Evidence.DEVICE, "none: libdcmi.so"),
        (targets.WEBGPU, Evidence.DEVICE, "none: no meter is known for webgpu"),
        (targets.INTEL_NPU, Evidence.SIMULATED, "none: a stand-in's energy"),
    ],
)
def test_without_a_meter_the_reason_is_told(
    target: Target, evidence: Evidence, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pynvml", "amdsmi"):
        monkeypatch.setitem(sys.modules, name, None)
    device = Device("0", "a device", target.name, evidence=evidence)
    meter, reason = energy.find(target, device)
    assert meter is None
    assert reason.startswith(says)


def test_a_library_that_breaks_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=broken))
    meter, reason = energy.find(targets.CUDA, Device("cuda:0", "a GPU", "cuda"))
    assert meter is None
    assert reason == "none: RuntimeError: driver not loaded"


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
