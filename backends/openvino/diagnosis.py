"""Explains why a plugin found no device, and what the user can do about it.

On Linux the device files distinguish the cases. Without a file there is no hardware, no kernel
driver, or a container without access. A file that the user may not open means a missing group. A
file that the user may open means a missing user-space driver.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from glob import glob

from qdeploy.errors import TargetUnavailable

DEVICE_FILES = {"GPU": "/dev/dri/renderD*", "NPU": "/dev/accel/accel*"}
JOIN_GROUP = "sudo usermod -aG render $USER, then log in again"
NO_DEVICE = "no supported devices found"
"""Message of the GPU plugin with a working driver and no supported GPU."""


@dataclass(frozen=True)
class DeviceFiles:
    """Linux device files of one kind of hardware, and those of them that this user may open."""

    present: tuple[str, ...]
    usable: tuple[str, ...]


def device_files(plugin: str) -> DeviceFiles | None:
    """Return the device files of *plugin*, `GPU` or `NPU`; None on systems without such files."""
    if not sys.platform.startswith("linux"):
        return None
    present = tuple(sorted(glob(DEVICE_FILES[plugin])))
    return DeviceFiles(present, tuple(f for f in present if os.access(f, os.R_OK | os.W_OK)))


def explain(plugin: str, error: str | None, files: DeviceFiles | None) -> TargetUnavailable:
    """Explain why *plugin* found no device.

    Args:
        plugin: `GPU` or `NPU`.
        error: the plugin's message; None if it found no device without an error.
        files: the result of `device_files`.
    """
    if error is not None and NO_DEVICE in error:
        error = None
    if plugin == "GPU" and error is not None:
        return _gpu_driver(error)
    if error is not None:
        return TargetUnavailable(f"the NPU plugin does not load: {error}", _vendor(plugin))
    if files is None:
        return TargetUnavailable(f"no Intel {plugin} found, or no driver for it", _vendor(plugin))
    if not files.present:
        folder = os.path.dirname(DEVICE_FILES[plugin])
        return TargetUnavailable(
            f"no {plugin} found: there is no device in {folder}", _HARDWARE[plugin]
        )
    if not files.usable:
        return TargetUnavailable(f"this user may not open {files.present[0]}", JOIN_GROUP)
    if plugin == "GPU":
        return TargetUnavailable(
            f"no Intel GPU found, though {files.usable[0]} and an OpenCL driver are there",
            "install intel-opencl-icd; `clinfo` must list the GPU",
        )
    return TargetUnavailable(
        f"{files.usable[0]} is there, but the NPU's user-space driver is missing",
        "install it from https://github.com/intel/linux-npu-driver/releases",
    )


def _gpu_driver(error: str) -> TargetUnavailable:
    if "OpenCL" in error:
        return TargetUnavailable(
            "the GPU's OpenCL driver is missing (the plugin finds no OpenCL library)",
            f"apt install intel-opencl-icd; {JOIN_GROUP}"
            if sys.platform.startswith("linux")
            else _vendor("GPU"),
        )
    return TargetUnavailable(f"the GPU plugin does not load: {error}", _vendor("GPU"))


def _vendor(plugin: str) -> str:
    return f"install Intel's current {plugin} driver"


_HARDWARE = {
    "GPU": "run on a machine with an Intel GPU; a container needs --device /dev/dri",
    "NPU": "run on an Intel Core Ultra with the kernel driver intel_vpu; a container needs "
    "--device /dev/accel; or try it without: --simulate",
}
