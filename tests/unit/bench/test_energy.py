"""Energy of measured runs: the meter that the target's row names, or why there is no figure."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from qdeploy import registry
from qdeploy.bench import energy
from qdeploy.interface import Device
from qdeploy.system import energy as system_energy
from qdeploy.system.energy import Counters, Meter
from qdeploy.targets import ASCEND, CUDA, DCU, INTEL_GPU, INTEL_NPU, WEBGPU, Evidence, Target
from tests.support.plugins import only
from tests.support.scripted import ScriptedBackend


def used(found: energy.Energy) -> float | None:
    """The joules of one run."""
    with found:
        pass
    return found.joules


@pytest.mark.parametrize(
    ("target", "evidence", "says"),
    [
        (CUDA, Evidence.DEVICE, "none: nvidia-ml-py is not installed"),
        (DCU, Evidence.DEVICE, "none: no meter is known for dcu"),
        (ASCEND, Evidence.DEVICE, "none: no meter is known for ascend"),
        (WEBGPU, Evidence.DEVICE, "none: no meter is known for webgpu"),
        (INTEL_NPU, Evidence.SIMULATED, "none: the energy of a simulated device"),
        (INTEL_GPU, Evidence.DEVICE, "none: RAPL does not count a GPU that is not known"),
    ],
)
def test_without_a_meter_the_reason_is_told(
    target: Target, evidence: Evidence, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = energy.find(target, [Device("0", "a device", target.name, evidence=evidence)])
    assert used(found) is None
    assert found.source.startswith(says)


@pytest.mark.parametrize("good", [1, 2, 3, 4], ids=["start", "stop", "next start", "next stop"])
def test_a_counter_that_breaks_in_mid_run_ends_the_figure_and_no_more(good: int) -> None:
    reads = itertools.count(1)

    def read() -> list[tuple[float, float | None]]:
        if (number := next(reads)) > good:
            raise OSError("the driver is gone")
        return [(float(number), None)]

    found = energy.Energy(lambda: Counters("a counter", read))
    assert found.source == "a counter"
    for _ in range(2):
        used(found)
    assert found.joules is None
    found.clear()
    assert found.joules is None
    assert found.source == "none: OSError: the driver is gone"


def test_what_ends_a_run_is_not_swallowed_with_the_meters_failures() -> None:
    found = energy.Energy(lambda: Counters("a counter", lambda: [(1.0, None)]))
    with pytest.raises(ZeroDivisionError), found:
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", ["cpu", "npu"])
def test_a_cpu_target_is_metered_by_rapl_without_naming_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_energy.rapl, "__defaults__", (tmp_path,))
    target = Target("slide-rule", "a target that names no meter", kind)
    found = energy.find(target, [Device("0", "a device", target.name)])
    rapl = "none: this system has no RAPL counters in /sys/class/powercap"
    assert found.source == (rapl if kind == "cpu" else "none: no meter is known for slide-rule")


ABACUS = Target("abacus", "beads", "npu", energy="beads")
SUNDIAL = Target("sundial", "the sun", "npu", energy="shadow")


def beads(target: Target, device: Device) -> Meter:
    joules = itertools.count(0, 5)
    return Counters(f"{target.name}, {device.name}", lambda: [(float(next(joules)), None)])


class AbacusBackend(ScriptedBackend):
    name, targets = "abacus", (ABACUS, SUNDIAL)
    meters = MappingProxyType({"beads": beads})


def test_a_third_partys_target_names_the_meter_that_its_backend_brings(tmp_path: Path) -> None:
    here = "tests.unit.bench.test_energy:AbacusBackend"
    with only(tmp_path, acme={registry.BACKENDS: {"abacus": here}}):
        found = energy.find(ABACUS, [Device("0", "ten rows", "abacus")])
        without = energy.find(SUNDIAL, [Device("0", "a garden", "sundial")])
    assert found.source == "abacus, ten rows"
    assert used(found) == 5
    assert without.source == "none: no installed backend provides the meter 'shadow'"


def test_devices_that_work_together_are_counted_together(tmp_path: Path) -> None:
    here = "tests.unit.bench.test_energy:AbacusBackend"
    rows = [Device(str(i), f"row {i}", "abacus") for i in range(2)]
    with only(tmp_path, acme={registry.BACKENDS: {"abacus": here}}):
        found = energy.find(ABACUS, rows)
        without = energy.find(SUNDIAL, rows)
    assert found.source == "abacus, row 0, 2 devices"
    assert used(found) == 10
    assert without.source.startswith("none: ")
