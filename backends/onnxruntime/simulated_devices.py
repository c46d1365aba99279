"""Simulated devices, used on explicit request only.

The CPU provider runs the static graphs of CANN and MIGraphX with the same operators, passes and
cache. WebGPU runs on SwiftShader, a software Vulkan device that comes with Debian's Chromium.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from qdeploy.backends.onnxruntime.providers import FOR_TARGET, Provider
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.targets import ASCEND, CPU, ROCM, WEBGPU, Evidence, Target

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
VULKAN_LOADER = "libvulkan.so.1"
INSTALL = "apt install chromium libvulkan1"
SOFTWARE_ADAPTER = {
    "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
    "VK_ICD_FILENAMES": str(SWIFTSHADER),
}
EXACT_PASS = 31
"""Longest pass in tokens. Longer passes use the flash attention of onnxruntime-ep-webgpu (0.4.0),
whose values on SwiftShader are 13% off (root mean square); all other operators agree with the CPU
provider's to 1e-6. The kernel shares work among a subgroup's lanes, and SwiftShader has four."""
ON_CPU = frozenset({ASCEND.name, ROCM.name})
TARGETS = frozenset({*ON_CPU, WEBGPU.name})


@contextmanager
def hidden() -> Iterator[None]:
    """Remove the variables that allow simulation, so that workers find real hardware only."""
    here = {name: os.environ.pop(name) for name in SOFTWARE_ADAPTER if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(here)


def device(target: Target) -> Device:
    """Return the simulated device of *target*.

    Raises:
        InputError: the target has none.
        TargetUnavailable: SwiftShader, or the Vulkan loader that opens it, is not installed.
    """
    if target.name not in TARGETS:
        raise InputError(
            f"there is nothing to simulate {target.name} with",
            fix="leave out --simulate, or choose one of: " + ", ".join(sorted(TARGETS)),
        )
    provider = FOR_TARGET[target.name][0]
    if target.name in ON_CPU:
        name = f"simulated: the CPU provider in place of {provider.name}"
        return Device(FOR_TARGET[CPU.name][0].name, name, target.name, evidence=Evidence.SIMULATED)
    if not SWIFTSHADER.is_file():
        raise TargetUnavailable(
            "SwiftShader, the software device for the simulation, is not installed",
            INSTALL,
        )
    try:
        ctypes.CDLL(VULKAN_LOADER)
    except OSError:
        raise TargetUnavailable(
            f"{VULKAN_LOADER}, the Vulkan loader that opens SwiftShader, is not installed", INSTALL
        ) from None
    name = "simulated: WebGPU on SwiftShader, a CPU in place of a GPU"
    return Device(provider.name, name, target.name, evidence=Evidence.SIMULATED)


def provider(target: Target) -> Provider:
    """Return the provider row for the simulated device. For WebGPU, set the environment, too."""
    real = FOR_TARGET[target.name][0]
    if target.name in ON_CPU:
        # names of the vendor's options are still checked, though they have no effect here
        cpu = FOR_TARGET[CPU.name][0]
        return replace(
            real, name=cpu.name, package=cpu.package, driver=None, memory=cpu.memory, library=None
        )
    os.environ.update(SOFTWARE_ADAPTER)
    return replace(real, longest_pass=EXACT_PASS, longest_text=EXACT_PASS)
