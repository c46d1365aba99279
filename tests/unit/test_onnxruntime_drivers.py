"""What the vendors' tools and files say, read as they write it. None of them is here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from qdeploy.backends.onnxruntime import drivers
from qdeploy.backends.onnxruntime.drivers import Hardware
from qdeploy.errors import TargetUnavailable

POSIX = pytest.mark.skipif(os.name != "posix", reason="the stand-in for a tool is a shell script")


def tool(folder: Path, output: str, code: int = 0) -> str:
    """A program that prints *output*."""
    file = folder / "nvidia-smi"
    text = f"import sys\nsys.stdout.write({output!r})\nsys.exit({code})\n"
    file.write_text(f"#!{sys.executable}\n{text}")
    file.chmod(0o755)
    return str(file)


@POSIX
def test_nvidias_tool_lists_gpus(tmp_path: Path) -> None:
    said = "0, NVIDIA GeForce RTX 4090, 24564, 575.57\n1, NVIDIA GB10, [N/A], 575.57\n"
    assert drivers.nvidia(tool(tmp_path, said)) == [
        Hardware("NVIDIA GeForce RTX 4090", 24564 * 2**20, "575.57"),
        Hardware("NVIDIA GB10", None, "575.57"),
    ]


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
        drivers.nvidia(tool(tmp_path, said, code))
    assert (said.split() or ["nothing"])[0] in caught.value.reason
    assert "install NVIDIA's driver" in (caught.value.fix or "")


def test_no_tool_of_nvidias_is_absence() -> None:
    with pytest.raises(TargetUnavailable, match="there is no nvidia-smi"):
        drivers.nvidia("no-such-program")


def topology(root: Path, number: int, **properties: int) -> None:
    node = root / "sys/class/kfd/kfd/topology/nodes" / str(number)
    (node / "mem_banks/0").mkdir(parents=True)
    lines = "".join(f"{name} {value}\n" for name, value in properties.items())
    (node / "properties").write_text(lines)
    (node / "mem_banks/0/properties").write_text(f"heap_type 1\nsize_in_bytes {2**34 + number}\n")


def test_amds_gpus_are_those_with_compute_units(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    (tmp_path / "opt/rocm/.info").mkdir(parents=True)
    (tmp_path / "opt/rocm/.info/version").write_text("7.2.0-43\n")
    topology(tmp_path, 0, cpu_cores_count=32, simd_count=0, vendor_id=0)
    topology(tmp_path, 1, simd_count=1216, vendor_id=4098, gfx_target_version=90402)
    topology(tmp_path, 10, simd_count=192, vendor_id=4098, gfx_target_version=120001)
    topology(tmp_path, 2, simd_count=120, vendor_id=4098, gfx_target_version=90010)
    assert drivers.amd(tmp_path) == [
        Hardware("AMD GPU gfx942", 2**34 + 1, "ROCm 7.2.0-43"),
        Hardware("AMD GPU gfx90a", 2**34 + 2, "ROCm 7.2.0-43"),
        Hardware("AMD GPU gfx1201", 2**34 + 10, "ROCm 7.2.0-43"),
    ]


def test_a_kernel_driver_without_a_gpu_is_absence(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    with pytest.raises(TargetUnavailable, match="topology lists none"):
        drivers.amd(tmp_path)


def test_ascends_npus_are_its_device_files(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("davinci0", "davinci10", "davinci2", "davinci_manager"):
        (tmp_path / "dev" / name).touch()
    about = tmp_path / "usr/local/Ascend/driver"
    about.mkdir(parents=True)
    (about / "version.info").write_text("Version=25.2.0\nascendhal_version=7.35.23\n")
    names = [(d.name, d.driver) for d in drivers.ascend(tmp_path)]
    assert names == [(f"Ascend NPU {n}", "25.2.0") for n in (0, 2, 10)]


@pytest.mark.parametrize("find", [drivers.amd, drivers.ascend])
def test_a_machine_without_them_says_so(find: object, tmp_path: Path) -> None:
    assert callable(find)
    with pytest.raises(TargetUnavailable) as caught:
        find(tmp_path)
    assert "there is no /dev/" in caught.value.reason
    assert "--simulate" in (caught.value.fix or "")
