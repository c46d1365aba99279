"""Finds the devices of a target that vLLM's environment is for, or explains why there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qdeploy.engines.vllm import environment
from qdeploy.engines.vllm.command import PLATFORMS
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system import drivers, info
from qdeploy.system.drivers import Hardware
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM, Evidence, Target

SYSTEM = sys.platform
HARDWARE: Mapping[str, Callable[[Sequence[str]], list[Hardware]]] = {
    CUDA.name: drivers.nvidia,
    ROCM.name: drivers.amd,
    DCU.name: drivers.dcu,
    ASCEND.name: drivers.ascend,
}
"""Lists a target's hardware by the driver; a CPU is always there."""


def find(target: Target, *, simulate: bool = False) -> list[Device]:
    """Return the devices of *target* that vLLM can be started on, at least one.

    The hardware comes first: pip can install a package, not hardware. What vLLM itself makes of the
    device is known once it has started, which takes half a minute.

    Raises:
        InputError: vLLM does not serve the target.
        TargetUnavailable: hardware, driver or vLLM's environment is missing, or that is for other
            hardware; or a simulated device is asked for. Only a CPU has one: several nodes on it.
    """
    if target.name not in PLATFORMS:
        raise InputError(
            f"vLLM does not serve the target {target.name}",
            fix="choose one of: " + ", ".join(PLATFORMS),
        )
    if simulate and target != CPU:
        raise TargetUnavailable("vLLM runs on real devices only", "leave --simulate out")
    if not SYSTEM.startswith("linux"):
        raise TargetUnavailable(
            f"vLLM does not run on this system ({SYSTEM})",
            "use Linux, or give the address of a server that runs elsewhere",
        )
    if target == CPU:
        environment.find(target.name)
        return [_nodes_of_one() if simulate else _cpu()]
    found = HARDWARE[target.name](target.masks)
    environment.find(target.name)
    kind = PLATFORMS[target.name].device
    return [
        Device(f"{kind}:{number}", one.name, target.name, one.memory_bytes, one.driver)
        for number, one in enumerate(found)
    ]


def _cpu() -> Device:
    return Device("cpu", info.cpu_name(), CPU.name, info.usable_memory_bytes())


def _nodes_of_one() -> Device:
    """What `--nodes` runs on where they are addresses of one machine."""
    name = f"simulated: nodes on one {info.cpu_name()}"
    return replace(_cpu(), name=name, evidence=Evidence.SIMULATED)
