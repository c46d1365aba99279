"""What stands in for hardware that is not here, on explicit request.

The CPU provider runs the static graphs of CANN and MIGraphX: the same operators, passes and cache.
WebGPU runs on SwiftShader, a Vulkan device made of software that comes with Debian's Chromium.
"""

from __future__ import annotations

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
SOFTWARE_ADAPTER = {
    "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
    "VK_ICD_FILENAMES": str(SWIFTSHADER),
}
EXACT_PASS = 31
"""Passes of more tokens go through the flash attention of onnxruntime-ep-webgpu (0.4.0), which on
SwiftShader gives other values (13% off, root mean square; all other operators agree to 1e-6 with
the CPU provider's). It shares work among the lanes of a subgroup, of which SwiftShader has four."""
ON_CPU = frozenset({ASCEND.name, ROCM.name})
TARGETS = frozenset({*ON_CPU, WEBGPU.name})


@contextmanager
def hidden() -> Iterator[None]:
    """Let child processes not know that this one may simulate: they look for real hardware."""
    here = {name: os.environ.pop(name) for name in SOFTWARE_ADAPTER if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(here)


def device(target: Target) -> Device:
    """The stand-in of *target*.

    Raises:
        InputError: it has none.
        TargetUnavailable: what it is made of is not installed.
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
            "SwiftShader, the software device that stands in, is not installed",
            "apt install chromium libvulkan1",
        )
    name = "simulated: WebGPU on SwiftShader, a CPU in place of a GPU"
    return Device(provider.name, name, target.name, evidence=Evidence.SIMULATED)


def provider(target: Target) -> Provider:
    """The provider that runs on the stand-in; for WebGPU, the environment is made ready for it."""
    real = FOR_TARGET[target.name][0]
    if target.name in ON_CPU:
        # what the vendor's options are called is still checked, none of them has a meaning there
        cpu = FOR_TARGET[CPU.name][0]
        return replace(
            real, name=cpu.name, package=cpu.package, driver=None, memory=cpu.memory, library=None
        )
    os.environ.update(SOFTWARE_ADAPTER)
    return replace(real, longest_pass=EXACT_PASS)
