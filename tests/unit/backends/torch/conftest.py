"""A machine with stubs in place of the vendors' drivers and of torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.system import drivers
from qdeploy.targets import BUILT_IN
from tests.support import vendors

SMI = """\
GPU-a1f0, NVIDIA GeForce RTX 4090, 24564, 575.57
GPU-b2c4, NVIDIA TITAN V, 12288, 575.57
"""
Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make a machine with the hardware of targets; returns the folder for packages."""
    for name in {name for target in BUILT_IN for name in target.masks}:
        monkeypatch.delenv(name, raising=False)

    def make(*targets: str) -> Path:
        root = vendors.kernel_driver(tmp_path / "root")
        if "cuda" in targets:
            vendors.nvidia_smi(tmp_path / "bin", SMI)
        for number, target in enumerate(sorted({"rocm", "dcu"}.intersection(targets))):
            vendor, gfx = {"rocm": (4098, 90402), "dcu": (7572, 90306)}[target]
            vendors.topology(
                root, number, simd_count=1216, vendor_id=vendor, gfx_target_version=gfx
            )
        if "ascend" in targets:
            (root / "dev/davinci0").touch()
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
        for find in (drivers.amd, drivers.dcu, drivers.ascend):
            monkeypatch.setattr(find, "__defaults__", (root,))
        packages = tmp_path / "packages"
        packages.mkdir()
        monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
        for name in ("torch", "torch_npu"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return packages

    return make
