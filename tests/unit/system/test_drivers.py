"""What the vendors' tools and files say, read as they write it. None of them is here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from qdeploy.errors import TargetUnavailable
from qdeploy.system import drivers
from qdeploy.system.drivers import Hardware
from qdeploy.targets import ASCEND, CUDA, DCU, ROCM
from tests.support.vendors import kernel_driver, nvidia_smi, topology

SMI = """\
GPU-a1f0, NVIDIA GeForce RTX 4090, 24564, 575.57
GPU-b2c4, NVIDIA GB10, [N/A], 575.57
GPU-a2d8, NVIDIA L4, 23034, 575.57
"""
"""What `nvidia-smi` says: unique ids, names, MiB and the driver's version, by the bus."""
Find = Callable[[Sequence[str], Path], list[Hardware]]
POSIX = pytest.mark.skipif(os.name != "posix", reason="the test replaces a tool by a shell script")


@pytest.fixture(autouse=True)
def no_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no device be hidden, whatever is hidden from this process."""
    for name in (*CUDA.masks, *ROCM.masks, *DCU.masks, *ASCEND.masks):
        monkeypatch.delenv(name, raising=False)


def tool(folder: Path, output: str, code: int = 0) -> str:
    """A program that prints *output*."""
    return str(nvidia_smi(folder, output, code))


@POSIX
def test_nvidias_tool_lists_gpus(tmp_path: Path) -> None:
    assert drivers.nvidia(CUDA.masks, tool(tmp_path, SMI)) == [
        Hardware("NVIDIA GeForce RTX 4090", 24564 * 2**20, "575.57"),
        Hardware("NVIDIA GB10", None, "575.57"),
        Hardware("NVIDIA L4", 23034 * 2**20, "575.57"),
    ]


@POSIX
@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        ("2,0", ["L4", "4090"]),
        ("GPU-b", ["GB10"]),
        (" GPU-a2 , 1", ["L4", "GB10"]),
        ("0,-1,1", ["4090"]),
        ("1,GPU-a,0", ["GB10"]),  # of two
        ("0,3,1", ["4090"]),
    ],
)
def test_cudas_mask_hides_and_orders(
    mask: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the rules of CUDA: a device of another number than CUDA's would run the model."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    assert [d.name.split()[-1] for d in drivers.nvidia(CUDA.masks, tool(tmp_path, SMI))] == shown


@POSIX
def test_a_part_of_a_gpu_is_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-3fa8")
    assert drivers.nvidia(CUDA.masks, tool(tmp_path, SMI)) == [
        Hardware("NVIDIA MIG-3fa8", None, "575.57")
    ]


@POSIX
@pytest.mark.parametrize("mask", ["", "-1", "NoDevFiles", "7"])
def test_a_mask_that_hides_all_is_absence(
    mask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    with pytest.raises(TargetUnavailable, match=f"CUDA_VISIBLE_DEVICES is '{mask}'") as caught:
        drivers.nvidia(CUDA.masks, tool(tmp_path, SMI))
    assert "unset CUDA_VISIBLE_DEVICES" in (caught.value.fix or "")


@POSIX
def test_a_gpu_that_hangs_is_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nvidia-smi"
    file.write_text("#!/bin/sh\nexec sleep 60\n")
    file.chmod(0o755)
    monkeypatch.setattr(drivers, "SECONDS", 0.2)
    with pytest.raises(TargetUnavailable, match=r"did not answer within 0.2 s") as caught:
        drivers.nvidia(CUDA.masks, str(file))
    assert "dmesg" in (caught.value.fix or "")


@POSIX
def test_a_driver_that_was_updated_needs_a_restart(tmp_path: Path) -> None:
    said = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580"
    with pytest.raises(TargetUnavailable) as caught:
        drivers.nvidia(CUDA.masks, tool(tmp_path, said, 18))
    assert "version mismatch" in caught.value.reason
    assert (caught.value.fix or "").startswith("restart the machine")


@POSIX
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("No devices were found\n", 6),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9),
        ("", 0),
    ],
)
def test_nvidias_tool_without_a_gpu_is_absence(tmp_path: Path, said: str, code: int) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        drivers.nvidia(CUDA.masks, tool(tmp_path, said, code))
    assert (said.split() or ["nothing"])[0] in caught.value.reason
    assert "install NVIDIA's driver" in (caught.value.fix or "")


def test_no_tool_of_nvidias_is_absence() -> None:
    with pytest.raises(TargetUnavailable, match="there is no nvidia-smi"):
        drivers.nvidia(CUDA.masks, "no-such-program")


def test_amds_gpus_are_those_with_compute_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel_driver(tmp_path) / "opt/rocm/.info").mkdir(parents=True)
    (tmp_path / "opt/rocm/.info/version").write_text("7.2.0-43\n")
    topology(tmp_path, 0, cpu_cores_count=32, simd_count=0, vendor_id=0)
    topology(tmp_path, 1, simd_count=1216, vendor_id=4098, gfx_target_version=90402)
    topology(
        tmp_path, 10, simd_count=192, vendor_id=4098, gfx_target_version=120001, unique_id=0xABC
    )
    topology(tmp_path, 2, simd_count=120, vendor_id=4098, gfx_target_version=90010)
    assert drivers.amd(ROCM.masks, tmp_path) == [
        Hardware("AMD GPU gfx942", 2**34 + 1, "ROCm 7.2.0-43"),
        Hardware("AMD GPU gfx90a", 2**34 + 2, "ROCm 7.2.0-43"),
        Hardware("AMD GPU gfx1201", 2**34 + 10, "ROCm 7.2.0-43"),
    ]
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "GPU-0000000000000abc,0")
    names = [d.name for d in drivers.amd(ROCM.masks, tmp_path)]
    assert names == ["AMD GPU gfx1201", "AMD GPU gfx942"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert [d.name for d in drivers.amd(ROCM.masks, tmp_path)] == ["AMD GPU gfx942"]


def test_dcus_are_hygons_by_the_vendor_or_by_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel_driver(tmp_path) / "sys/module/hycu").mkdir(parents=True)
    (tmp_path / "sys/module/hycu/version").write_text("6.3.13-V1.12.0\n")
    topology(tmp_path, 0, cpu_cores_count=64, simd_count=0, vendor_id=0)
    topology(tmp_path, 1, simd_count=480, vendor_id=7572, gfx_target_version=90306)
    topology(tmp_path, 2, simd_count=240, vendor_id=7572, gfx_target_version=90006)
    topology(tmp_path, 3, simd_count=480, vendor_id=4098, gfx_target_version=90208)
    assert drivers.dcu(DCU.masks, tmp_path) == [
        Hardware("Hygon DCU gfx936", 2**34 + 1, "6.3.13-V1.12.0"),
        Hardware("Hygon DCU gfx906", 2**34 + 2, "6.3.13-V1.12.0"),
        Hardware("Hygon DCU gfx928", 2**34 + 3, "6.3.13-V1.12.0"),
    ]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,0")
    names = [d.name for d in drivers.dcu(DCU.masks, tmp_path)]
    assert names == ["Hygon DCU gfx928", "Hygon DCU gfx936"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "")
    with pytest.raises(TargetUnavailable, match="HIP_VISIBLE_DEVICES is ''"):
        drivers.dcu(DCU.masks, tmp_path)


def test_rocm_claims_no_dcu_and_dcu_no_gpu_of_amds(tmp_path: Path) -> None:
    kernel_driver(tmp_path)
    topology(tmp_path, 1, simd_count=1216, vendor_id=4098, gfx_target_version=90402)
    with pytest.raises(TargetUnavailable, match=r"lists AMD GPU gfx942 only") as caught:
        drivers.dcu(DCU.masks, tmp_path)
    assert caught.value.fix == "--target rocm"
    topology(tmp_path, 2, simd_count=480, vendor_id=7572, gfx_target_version=90306)
    assert [d.name for d in drivers.amd(ROCM.masks, tmp_path)] == ["AMD GPU gfx942"]
    assert [d.name for d in drivers.dcu(DCU.masks, tmp_path)] == ["Hygon DCU gfx936"]
    (tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties").write_text("simd_count 0\n")
    with pytest.raises(TargetUnavailable, match=r"lists Hygon DCU gfx936 only") as caught:
        drivers.amd(ROCM.masks, tmp_path)
    assert caught.value.fix == "--target dcu"


@pytest.mark.parametrize(
    ("find", "tool"), [(drivers.amd, "rocminfo"), (drivers.dcu, "hy-smi")], ids=["amd", "dcu"]
)
def test_a_kernel_driver_without_a_gpu_is_absence(find: Find, tool: str, tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="topology lists none") as caught:
        find((), kernel_driver(tmp_path))
    assert tool in (caught.value.fix or "")


@POSIX
@pytest.mark.parametrize(
    ("find", "file", "groups"),
    [(drivers.amd, "kfd", "render,video"), (drivers.dcu, "kfd", "render,video"),
     (drivers.ascend, "davinci0", "HwHiAiUser")],
)  # fmt: skip
def test_a_device_that_the_user_may_not_open_is_absence(
    find: Find, file: str, groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel_driver(tmp_path) / "dev/davinci0").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may open everything
    with pytest.raises(TargetUnavailable, match=f"may not open /dev/{file}") as caught:
        find((), tmp_path)
    assert f"usermod -aG {groups} $USER" in (caught.value.fix or "")


def test_ascends_npus_are_its_device_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("davinci0", "davinci10", "davinci2", "davinci_manager"):
        (tmp_path / "dev" / name).touch()
    about = tmp_path / "usr/local/Ascend/driver"
    about.mkdir(parents=True)
    (about / "version.info").write_text("Version=25.2.0\nascendhal_version=7.35.23\n")
    names = [(d.name, d.driver) for d in drivers.ascend(ASCEND.masks, tmp_path)]
    assert names == [(f"Ascend NPU {n}", "25.2.0") for n in (0, 2, 10)]
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "2,0")
    assert [d.name for d in drivers.ascend(ASCEND.masks, tmp_path)] == [
        "Ascend NPU 10",
        "Ascend NPU 0",
    ]
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "9")
    with pytest.raises(TargetUnavailable, match="ASCEND_RT_VISIBLE_DEVICES is '9'"):
        drivers.ascend(ASCEND.masks, tmp_path)


@pytest.mark.parametrize("find", [drivers.amd, drivers.dcu, drivers.ascend])
def test_a_machine_without_them_says_so(find: Find, tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        find((), tmp_path)
    assert "there is no /dev/" in caught.value.reason
    assert "install" in (caught.value.fix or "")
