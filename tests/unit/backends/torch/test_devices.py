"""Finding devices through torch: what is missing, each with its fix. The vendors are stubs."""

from __future__ import annotations

import os
import sys

import pytest

from qdeploy.backends.torch import build, devices, probe
from qdeploy.backends.torch.simulated import devices as simulated
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system.worker import WorkerFailed
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM, WEBGPU, Target
from tests.support import vendors
from tests.unit.backends.torch.conftest import Machine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="tools are replaced by shell scripts")

RTX = {"name": "NVIDIA GeForce RTX 4090", "total_memory": 25 * 10**9, "major": 8, "minor": 9}
TITAN = {"name": "NVIDIA TITAN V", "total_memory": 12 * 10**9, "major": 7, "minor": 0}
MI300 = {"name": "AMD Instinct MI300X", "total_memory": 2**37, "major": 9, "minor": 4,
         "gcnArchName": "gfx942:sramecc+:xnack-"}  # fmt: skip
BW = {"name": "BW1000", "total_memory": 2**36, "major": 9, "minor": 3, "gcnArchName": "gfx936"}
KERNELS = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
INSTALL = {
    "cpu": "pip install 'qdeploy[torch]'",
    "cuda": "torch --index-url https://download.pytorch.org/whl/cu130",
    "rocm": "torch --index-url https://download.pytorch.org/whl/rocm7.2",
    "dcu": "Hygon's build of torch for the version of DTK that is here",
    "ascend": "pip install 'qdeploy[torch-npu]'",
}
DTK = "2.9.0+das.opt1.dtk2604"


def absence(target: Target) -> tuple[str, str]:
    with pytest.raises(TargetUnavailable) as caught:
        devices.find(target)
    assert caught.value.exit_code == 3
    return caught.value.reason, caught.value.fix or ""


@pytest.mark.parametrize("target", [CUDA, ROCM, DCU, ASCEND], ids=str)
def test_hardware_that_is_not_there_can_be_simulated(
    target: Target, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.torch(machine(), "2.14.1+cpu")
    monkeypatch.setenv("PATH", "")
    said, fix = absence(target)
    assert " found: " in said
    assert fix.endswith("; or try it without: --simulate")
    assert simulated.find(target)


def test_a_cpu_needs_nothing_but_torch(machine: Machine) -> None:
    vendors.torch(machine("cpu"), "2.14.1+cpu")
    (found,) = devices.find(CPU)
    assert (found.id, found.target, found.architecture) == ("cpu", "cpu", None)


def test_cudas_devices_of_different_capabilities_keep_their_numbers(machine: Machine) -> None:
    """The one that this build has no kernels for is none of the devices; the other is still 1."""
    folder = machine("cuda")
    gpus = [TITAN, RTX]
    vendors.torch(folder, "2.14.1+cu130", cuda="13.0", kernels=KERNELS, devices=gpus)
    assert devices.find(CUDA) == [
        Device("cuda:1", RTX["name"], "cuda", 25 * 10**9, "575.57", architecture="sm_89")  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("target", "version", "gpu", "architecture"),
    [(ROCM, "2.14.1+rocm7.2", MI300, "gfx942"), (DCU, DTK, BW, "gfx936")],
    ids=str,
)
def test_devices_of_hip(
    target: Target, version: str, gpu: dict[str, object], architecture: str, machine: Machine
) -> None:
    vendors.torch(
        machine(target.name), version, hip="7.2", kernels=["gfx90a", "gfx942"], devices=[gpu]
    )
    (found,) = devices.find(target)
    assert (found.id, found.name, found.architecture) == ("cuda:0", gpu["name"], architecture)


def test_devices_of_cann(machine: Machine) -> None:
    folder = machine("ascend")
    vendors.torch(folder, "2.14.0+cpu")
    vendors.torch_npu(folder, "2.14.0", devices=["Ascend910B3", "Ascend910B3"])
    found = devices.find(ASCEND)
    assert [(d.id, d.name, d.memory_bytes) for d in found] == [
        ("npu:0", "Ascend910B3", 2**36), ("npu:1", "Ascend910B3", 2**36)
    ]  # fmt: skip


@pytest.mark.parametrize("target", [CPU, CUDA, ROCM, DCU, ASCEND], ids=str)
def test_without_torch_the_hardware_comes_first_then_the_package(
    target: Target, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(target.name)
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    said, fix = absence(target)
    assert said == "torch is not installed"
    assert INSTALL[target.name] in fix


@pytest.mark.parametrize(
    ("target", "version", "built", "reason", "fix"),
    [
        (CUDA, "2.14.1+cpu", {}, "built for the CPU only, not for CUDA", "/whl/cu130"),
        (CUDA, "2.14.1+rocm7.2", {"hip": "7.2"}, "built for HIP 7.2 only, not for", "/whl/cu130"),
        (ROCM, "2.14.1+cu130", {"cuda": "13.0"}, "built for CUDA 13.0 only", "/whl/rocm7.2"),
        (ROCM, DTK, {"hip": "6.3"}, "Hygon's build: AMD's ROCm has another", "/whl/rocm7.2"),
        (DCU, "2.14.1+rocm7.2", {"hip": "7.2"}, "AMD's build: Hygon's DTK has", "sourcefind.cn"),
        (DCU, "2.14.1+cu130", {"cuda": "13.0"}, "built for CUDA 13.0 only", "sourcefind.cn"),
    ],
)
def test_a_build_of_torch_for_other_hardware_is_told_without_importing_it(
    target: Target, version: str, built: dict[str, str], reason: str, fix: str, machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    vendors.torch(machine(target.name), version, **built)  # type: ignore[arg-type]
    monkeypatch.setattr(probe, "run_worker", None)
    said, advice = absence(target)
    assert f"torch {version}" in said
    assert reason in said
    assert fix in advice


def test_hardware_of_two_vendors_needs_an_environment_each(machine: Machine) -> None:
    """CUDA and ROCm are builds of torch that exclude each other: the other one still works."""
    folder = machine("cuda", "rocm")
    vendors.torch(folder, "2.14.1", cuda="13.0", kernels=KERNELS, devices=[RTX])
    assert [device.id for device in devices.find(CUDA)] == ["cuda:0"]
    said, fix = absence(ROCM)
    assert said == "torch 2.14.1, built for CUDA 13.0 only, not for ROCm"
    assert fix.startswith("in an environment of its own, as this one serves cuda here: pip install")
    assert fix.endswith("/whl/rocm7.2")


def test_a_torch_that_is_too_old_or_in_part(machine: Machine) -> None:
    folder = machine("cpu")
    vendors.torch(folder, "2.5.1+cpu")
    assert absence(CPU)[0] == "torch 2.5.1+cpu is installed, and 2.9 or later is needed"
    (folder / "torch/version.py").unlink()
    said, fix = absence(CPU)
    assert "version.py is missing" in said
    assert fix == "pip uninstall torch; pip install 'qdeploy[torch]'"


def test_a_driver_older_than_torchs_cuda(machine: Machine) -> None:
    too_old = 'raise RuntimeError("The NVIDIA driver on your system is too old (found 12090).")'
    vendors.torch(machine("cuda"), "2.14.1+cu130", cuda="13.0", kernels=KERNELS, init=too_old)
    said, fix = absence(CUDA)
    assert said == ("NVIDIA's driver 575.57 is too old for torch 2.14.1+cu130, built for CUDA 13.0")
    assert "driver 580 or later, or torch for an older CUDA: pip install" in fix
    assert fix.endswith("/whl/cu126")


@pytest.mark.parametrize(
    ("capability", "kernels", "fix"),
    [((7, 0), KERNELS, "/whl/cu126"), ((12, 0), ("sm_80", "sm_90"), "/whl/cu130"),
     ((3, 5), KERNELS, "compute capability 5.0 or later")],
)  # fmt: skip
def test_a_compute_capability_without_kernels(
    capability: tuple[int, int], kernels: tuple[str, ...], fix: str, machine: Machine
) -> None:
    major, minor = capability
    gpu = {**TITAN, "major": major, "minor": minor}
    vendors.torch(machine("cuda"), "2.14.1", cuda="13.0", kernels=kernels, devices=[gpu])
    said, advice = absence(CUDA)
    assert f"no kernels for NVIDIA TITAN V (sm_{major}{minor}); it has those for sm_" in said
    assert fix in advice


def test_an_architecture_of_amds_without_kernels(machine: Machine) -> None:
    folder = machine("rocm")
    vendors.torch(folder, "2.14.1+rocm7.2", hip="7.2", kernels=["gfx90a"], devices=[MI300])
    assert "no kernels for AMD Instinct MI300X (gfx942); it has" in absence(ROCM)[0]


@pytest.mark.parametrize(
    ("says", "fix"),
    [("No CUDA GPUs are available", "--gpus all"),
     ("Found no NVIDIA driver on your system.", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
     ("CUDA unknown error - this may be due to", "modprobe nvidia_uvm")],
)  # fmt: skip
def test_torch_that_sees_nothing_of_what_the_driver_lists(
    says: str, fix: str, machine: Machine
) -> None:
    failing = f"raise RuntimeError({says!r})"
    vendors.torch(machine("cuda"), "2.14.1+cu130", cuda="13.0", kernels=KERNELS, init=failing)
    said, advice = absence(CUDA)
    assert said.endswith(f"the driver lists NVIDIA GeForce RTX 4090: {says}")
    assert fix in advice


def test_cudas_mask_hides_amds_gpus_on_a_machine_with_both(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.torch(machine("rocm"), "2.14.1+rocm7.2", hip="7.2", kernels=["gfx942"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said, fix = absence(ROCM)
    assert said == "every device is hidden: HIP reads CUDA_VISIBLE_DEVICES as well, and it is ''"
    assert "unset CUDA_VISIBLE_DEVICES" in fix
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "finds no device, though the driver lists AMD GPU gfx942" in absence(ROCM)[0]


@pytest.mark.parametrize("target", [CUDA, ROCM, DCU, ASCEND], ids=str)
def test_masks_that_hide_everything(
    target: Target, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(target.name)
    monkeypatch.setenv(target.masks[-1], "")
    said, fix = absence(target)
    assert said == f"every device is hidden: {target.masks[-1]} is ''"
    assert fix.startswith(f"unset {target.masks[-1]}, or set it to devices that")


def test_a_driver_that_crashes(machine: Machine) -> None:
    crash = "import os; os.kill(os.getpid(), 6)"
    vendors.torch(machine("cuda"), "2.14.1+cu130", cuda="13.0", init=crash)
    said, fix = absence(CUDA)
    how = "the process that asked torch for its devices was killed by SIGABRT"
    assert f"CUDA cannot be used: {how}" in said
    assert fix


def test_a_driver_that_hangs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 1.0)
    hang = "import time; time.sleep(60)"
    vendors.torch(machine("cuda"), "2.14.1+cu130", cuda="13.0", init=hang)
    said, fix = absence(CUDA)
    assert "asked torch for its devices did not answer within 1 s" in said
    assert fix


def test_torch_that_cannot_be_imported_beside_the_driver(machine: Machine) -> None:
    folder = machine("dcu")
    vendors.torch(folder, DTK, hip="6.3")
    (folder / "torch/__init__.py").write_text('raise ImportError("librocm_smi64.so.2: missing")\n')
    said, fix = absence(DCU)
    assert said.startswith("torch cannot be imported: ")
    assert "librocm_smi64.so.2: missing" in said
    assert "source /opt/dtk/env.sh" in fix


@pytest.mark.parametrize(
    ("system", "targets"), [("darwin", [CUDA, ROCM, DCU, ASCEND]), ("win32", [ROCM, DCU, ASCEND])]
)
def test_a_system_without_a_build_is_not_told_to_install_one(
    system: str, targets: list[Target], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.torch(machine(), "2.14.1")
    monkeypatch.setattr(devices, "SYSTEM", system)
    for target in targets:
        said, fix = absence(target)
        assert said.endswith(f"on this system ({system})")
        assert fix == "--target cpu; or try it without: --simulate"
    assert devices.find(CPU)


def test_other_targets_are_bad_input() -> None:
    with pytest.raises(InputError, match="torch does not serve the target webgpu"):
        devices.find(WEBGPU)


def test_torch_is_asked_once_and_never_in_this_process(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.torch(machine("cuda"), "2.14.1", cuda="13.0", kernels=KERNELS, devices=[RTX, RTX])
    found = devices.find(CUDA)
    assert "torch" not in sys.modules

    def ask(*_: object, **__: object) -> None:
        raise WorkerFailed("was asked again", "starting", None, ())

    monkeypatch.setattr(probe, "run_worker", ask)
    assert devices.find(CUDA) == found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # on which the answer depends
    assert "was asked again" in absence(CUDA)[0]
