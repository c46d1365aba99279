"""The vendors' platforms that torch runs on: how hardware is found, and the builds of torch.

A platform is a row. What the engine needs of its devices is in `accelerators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from qdeploy.backends.torch.build import Build
from qdeploy.backends.torch.runtime import INSTALL
from qdeploy.system import drivers
from qdeploy.system.drivers import Hardware
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, PYTORCH, ROCM, Target

CPU_INDEX = f"{PYTORCH}/cpu"
OLD_CUDA_INDEX = f"{PYTORCH}/cu126"
"""The build for GPUs and drivers that CUDA 13 has dropped."""


def reinstall(index: str | None) -> str:
    """The command that puts the build of torch from an index in place of any other."""
    return f"pip install --force-reinstall torch --index-url {index}"


def _is_dtks(build: Build) -> bool:
    """Hygon's versions read 2.9.0+das.opt1.dtk2604."""
    return "das" in build.local or "dtk" in build.local


@dataclass(frozen=True)
class Platform:
    """One vendor's platform.

    Attributes:
        device_type: torch's word for its devices, which begins their ids.
        title: its name in messages.
        hardware: lists the hardware by the driver; None for the CPU, which is always there.
        serves: whether a build of torch runs on it.
        install: how to install such a build.
        check: what to look at if torch finds no device, though the driver lists one.
        package: a distribution besides torch, as pip names it.
        systems: values of `sys.platform` for which there are such builds.
    """

    target: Target
    device_type: str
    title: str
    hardware: Callable[[], list[Hardware]] | None
    serves: Callable[[Build], bool]
    install: str
    check: str = ""
    package: str | None = None
    systems: tuple[str, ...] = ("linux",)


PLATFORMS: tuple[Platform, ...] = (
    Platform(
        CPU, "cpu", "the CPU", None, lambda build: True, INSTALL,
        systems=("linux", "win32", "darwin"),
    ),
    Platform(
        CUDA, "cuda", "CUDA", partial(drivers.nvidia, CUDA.masks),
        lambda build: build.cuda is not None,
        reinstall(CUDA.torch_index), systems=("linux", "win32"),
        check="a container needs --gpus all; after sleep, or a change of the driver, restart the "
        "machine",
    ),
    Platform(
        ROCM, "cuda", "ROCm", partial(drivers.amd, ROCM.masks),
        lambda build: build.hip is not None and not _is_dtks(build),
        reinstall(ROCM.torch_index),
        check="a container needs --device /dev/kfd --device /dev/dri; `rocminfo` must list the GPU",
    ),
    Platform(
        DCU, "cuda", "DTK", partial(drivers.dcu, DCU.masks),
        # AMD's have a binary interface of their own; a build from source is not known by its name
        lambda build: build.hip is not None and not build.local.startswith("rocm"),
        "install Hygon's build of torch for the version of DTK that is here, from "
        "https://download.sourcefind.cn:65024/4/main",
        check="source /opt/dtk/env.sh; `hy-smi` must list the DCU",
    ),
    Platform(
        ASCEND, "npu", "CANN", partial(drivers.ascend, ASCEND.masks), lambda build: True,
        f"pip install 'qdeploy[{ASCEND.extras['torch-npu']}]'",
        check="`npu-smi info` must list the NPU, and no other process may hold it alone",
        package="torch-npu",
    ),
)  # fmt: skip

FOR_TARGET: Mapping[str, Platform] = {row.target.name: row for row in PLATFORMS}
