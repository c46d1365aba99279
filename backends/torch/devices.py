"""Finds the devices of a target on this machine, or explains why there is none."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from qdeploy.backends.torch import build, diagnosis, probe
from qdeploy.backends.torch.accelerators.table import PLATFORMS
from qdeploy.backends.torch.platforms import Platform
from qdeploy.backends.torch.simulated import devices as simulated_devices
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system import info
from qdeploy.system.drivers import or_simulated
from qdeploy.system.worker import WorkerFailed
from qdeploy.targets import CPU, Target

SYSTEM = sys.platform


def find(target: Target) -> list[Device]:
    """Return the devices of *target* that torch can compute on, at least one.

    The hardware comes first: pip can install a package, not hardware. Then come torch, its build,
    and what it says of the devices.

    Raises:
        InputError: torch does not serve the target.
        TargetUnavailable: the driver, the hardware, torch or a build of it for the target is
            missing, or torch does not get at the devices.
    """
    platform = PLATFORMS.get(target.name)
    if platform is None:
        raise InputError(
            f"torch does not serve the target {target.name}",
            fix="choose one of: " + ", ".join(PLATFORMS),
        )
    if not SYSTEM.startswith(platform.systems):
        raise or_simulated(
            TargetUnavailable(
                f"torch has no build for {platform.title} on this system ({SYSTEM})",
                f"--target {CPU.name}",
            )
        )
    if platform.hardware is None:
        build.installed()
        return [Device("cpu", info.cpu_name(), target.name, info.memory_bytes())]
    return _accelerators(platform)


def _accelerators(platform: Platform) -> list[Device]:
    """The devices of a platform that has a driver. Raises TargetUnavailable like `find`."""
    assert platform.hardware  # noqa: S101
    try:
        hardware = platform.hardware()
    except TargetUnavailable as error:
        simulated = platform.target.name in simulated_devices.TARGETS
        raise (or_simulated(error) if simulated else error) from None
    found = build.installed(platform.install)
    if wrong := diagnosis.of_build(platform, found):
        raise wrong
    if platform.package:
        _require_package(platform, found)
    try:
        facts = probe.probe(platform.device_type)
    except WorkerFailed as error:
        raise TargetUnavailable(
            f"{platform.title} cannot be used: the process that asked torch for its devices "
            f"{error}",
            platform.check,
        ) from None
    usable = [device for device in facts.found if diagnosis.has_kernels(platform, facts, device)]
    if not usable:
        raise diagnosis.of_facts(platform, found, hardware, facts)
    return [
        Device(
            f"{platform.device_type}:{device.number}",
            device.name,
            platform.target.name,
            device.memory_bytes,
            hardware[0].driver,
            architecture=device.architecture,
        )
        for device in usable
    ]


def _require_package(platform: Platform, found: build.Build) -> None:
    """Check that the package that adds a device type to torch is there, and is for this torch."""
    assert platform.package  # noqa: S101
    if find_spec(platform.package.replace("-", "_")) is None:
        raise TargetUnavailable(f"{platform.package} is not installed", platform.install)
    if wrong := diagnosis.of_npu_version(found):
        raise wrong
