"""Finding the devices of a target on this machine."""

from __future__ import annotations

import platform

from qdeploy.backends.openvino import diagnosis, runtime
from qdeploy.backends.openvino.probe import probe
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system import info
from qdeploy.targets import CPU, INTEL_CPU, INTEL_GPU, INTEL_NPU, Evidence, Target

PLUGINS = {
    CPU.name: "CPU", INTEL_CPU.name: "CPU", INTEL_GPU.name: "GPU", INTEL_NPU.name: "NPU",
}  # fmt: skip
"""OpenVINO's plugin for each target."""
X86 = frozenset({"x86_64", "amd64", "i386", "i686"})


def find(target: Target) -> list[Device]:
    """Return the devices of *target*, at least one.

    Raises:
        InputError: the target is none of OpenVINO's.
        TargetUnavailable: runtime, driver or hardware is absent.
    """
    plugin = plugin_of(target)
    runtime.require_installed()
    if plugin == "CPU":
        return [_cpu(target)]
    answer = probe(plugin)
    if not answer.devices:
        raise diagnosis.explain(plugin, answer.error, diagnosis.device_files(plugin))
    return [
        Device(found.id, found.name, target.name, found.memory_bytes, found.driver)
        for found in answer.devices
    ]


def stand_in(target: Target) -> Device:
    """Return the simulated device of *target*: the NPU's static graphs run by the CPU plugin.

    Raises:
        InputError: the target has no stand-in. No machine would ever have one, so it is not
            TargetUnavailable, which lets tests skip.
    """
    if plugin_of(target) != "NPU":
        raise InputError(
            f"there is nothing to simulate {target.name} with",
            fix=f"leave out --simulate, or use --target {INTEL_NPU.name}",
        )
    return Device(
        id="NPU",
        name=f"simulated NPU (NPUW on {_cpu_name()})",
        target=target.name,
        memory_bytes=info.memory_bytes(),
        evidence=Evidence.SIMULATED,
    )


def plugin_of(target: Target) -> str:
    """`CPU`, `GPU` or `NPU`.

    Raises:
        InputError: the target is none of OpenVINO's.
    """
    if target.name not in PLUGINS:
        raise InputError(
            f"OpenVINO does not serve the target {target.name}",
            fix="choose one of: " + ", ".join(PLUGINS),
        )
    return PLUGINS[target.name]


def _cpu(target: Target) -> Device:
    machine = platform.machine()
    if machine.lower() not in X86:
        # OpenVINO runs on ARM too, with other kernels: figures from there under this target's
        # name would be compared with x86's.
        raise TargetUnavailable(
            f"{target.name} is an x86 CPU, and this one is {machine}", "use --target cpu"
        )
    return Device("CPU", _cpu_name(), target.name, info.memory_bytes())


def _cpu_name() -> str:
    # The CPU plugin has no driver under it, so asking it in this process is safe.
    return str(runtime.load().ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
