"""`Platform`: how a vendor's hardware is found, and the builds of torch for it.

Each accelerator has its own row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qdeploy.backends.torch.build import Build
from qdeploy.system.drivers import Hardware
from qdeploy.targets import PYTORCH, Target

CPU_INDEX = f"{PYTORCH}/cpu"
OLD_CUDA_INDEX = f"{PYTORCH}/cu126"
"""The build for GPUs and drivers that CUDA 13 has dropped."""


def reinstall(index: str | None) -> str:
    """The command that puts the build of torch from an index in place of any other."""
    return f"pip install --force-reinstall torch --index-url {index}"


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
