"""Finds the devices of a target on this machine."""

from __future__ import annotations

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


def find(target: Target) -> list[Device]:
    """Return the devices of *target*, at least one.

    Raises:
        InputError: OpenVINO does not serve the target.
        TargetUnavailable: runtime, driver or hardware is absent.
    """
    plugin = plugin_of(target)
    _require_vendor(target)
    runtime.require_installed()
    if plugin == "CPU":
        return [Device("CPU", _cpu_name(), target.name, info.memory_bytes())]
    answer = probe(plugin)
    if not answer.devices:
        raise diagnosis.explain(plugin, answer.error, diagnosis.device_files(plugin))
    return [
        Device(found.id, found.name, target.name, found.memory_bytes, found.driver)
        for found in answer.devices
    ]


def simulated_targets() -> frozenset[str]:
    """Names of the targets with a simulated device: `intel-cpu` where the CPU is not Intel's."""
    other = info.other_cpu(INTEL_CPU.cpu_vendor)
    return frozenset({INTEL_NPU.name, *([INTEL_CPU.name] if other else [])})


def simulated(target: Target) -> Device:
    """Return the simulated device of *target*.

    The CPU plugin runs the NPU's static graphs, and on a CPU of another vendor the graphs of
    `intel-cpu`.

    Raises:
        InputError: the target has none here. It is not TargetUnavailable, for which tests skip.
    """
    plugin_of(target)
    if target.name not in simulated_targets():
        raise InputError(
            f"there is nothing to simulate {target.name} with",
            fix=f"leave out --simulate, or use --target {INTEL_NPU.name}",
        )
    runtime.require_installed()
    if target.cpu_vendor:
        name, plugin = f"simulated: {_cpu_name()} in place of an {target.title}", "CPU"
    else:
        name, plugin = f"simulated NPU (NPUW on {_cpu_name()})", "NPU"
    memory = info.memory_bytes()
    return Device(plugin, name, target.name, memory, evidence=Evidence.SIMULATED)


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


def _require_vendor(target: Target) -> None:
    """Refuse a CPU of another vendor: a target named after a vendor is that vendor's hardware.

    Raises:
        TargetUnavailable: the CPU is of another vendor than the target's.
    """
    if other := info.other_cpu(target.cpu_vendor):
        raise TargetUnavailable(
            f"this is {other}, and {target.name} is {target.cpu_vendor}'s",
            f"--target {CPU.name}; or try it without: --simulate",
        )


def _cpu_name() -> str:
    # The CPU plugin needs no driver, so it is safe to load in this process.
    return str(runtime.load().ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
