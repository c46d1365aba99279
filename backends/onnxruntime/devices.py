"""Finds the devices of a target on this machine, or explains why there is none."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from glob import glob
from typing import Any

from qdeploy.backends.onnxruntime import runtime, simulated_devices
from qdeploy.backends.onnxruntime.probe import describe, probe
from qdeploy.backends.onnxruntime.providers import FOR_TARGET, Driver, Provider
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.system import info, masks
from qdeploy.system.drivers import Hardware, or_simulated
from qdeploy.targets import CPU, Target

SYSTEM = sys.platform
TITLES = {"linux": "Linux", "win32": "Windows", "darwin": "macOS"}


def find(target: Target) -> list[Device]:
    """Return the devices of *target*, at least one, of every available provider.

    Raises:
        InputError: ONNX Runtime does not serve the target.
        TargetUnavailable: for each provider, the runtime, the provider, its driver or the
            hardware is missing. The reason is the preferred provider's; the fix covers the others.
    """
    providers = FOR_TARGET.get(target.name)
    if providers is None:
        raise InputError(
            f"ONNX Runtime does not serve the target {target.name}",
            fix="choose one of: " + ", ".join(FOR_TARGET),
        )
    found: list[Device] = []
    absent: dict[str, TargetUnavailable] = {}
    for provider in providers:
        try:
            described = _found(provider)
        except TargetUnavailable as error:
            absent[provider.name] = error
        else:
            found += [Device(target=target.name, **device) for device in described]
    if not found:
        raise _together(absent)
    return found


def _together(absent: Mapping[str, TargetUnavailable]) -> TargetUnavailable:
    """Combine the errors of a target's providers; equal reasons appear once."""
    (_, first), *others = absent.items()
    fixes = [
        f"for {name}: {e.fix}"
        for name, e in others
        if e.reason != first.reason and e.fix != first.fix
    ]
    return TargetUnavailable(first.reason, "; or ".join([first.fix or "", *fixes]))


def _found(provider: Provider) -> list[dict[str, Any]]:
    """Return the devices of one provider as plain data. Raises TargetUnavailable like `find`."""
    vendor = provider.target.cpu_vendor
    if other := info.other_cpu(vendor):
        raise TargetUnavailable(
            f"{provider.name} takes {vendor} CPUs only, and this is {other}",
            f"--target {CPU.name}",
        )
    if not SYSTEM.startswith(provider.systems):
        known = " and ".join(TITLES[system] for system in provider.systems)
        raise TargetUnavailable(
            f"{provider.package} is built for {known} only", f"--target {CPU.name}"
        )
    try:
        hardware = _hardware(provider.driver) if provider.driver else []
    except TargetUnavailable as error:
        simulated = provider.target.name in simulated_devices.TARGETS
        raise (or_simulated(error) if simulated else error) from None
    runtime.require()
    if provider.plugin:
        return plugin_devices(provider, hardware)
    if provider.driver is None:
        memory = info.memory_bytes()
        return [{"id": provider.name, "name": info.cpu_name(), "memory_bytes": memory}]
    return builtin_devices(provider, hardware)


def _hardware(driver: Driver) -> list[Hardware]:
    """List the hardware by its driver. This comes first: pip can install a package, not hardware.

    Raises:
        TargetUnavailable: the driver is missing, or lists no device.
    """
    if driver.files and sys.platform.startswith("linux") and not glob(driver.files):
        raise TargetUnavailable(f"no hardware found: there is no {driver.files}", driver.fix)
    return driver.devices() if driver.devices else []


def builtin_devices(provider: Provider, hardware: Sequence[Hardware]) -> list[dict[str, Any]]:
    """Return the devices of a provider that is part of ONNX Runtime, which does not list them.

    Raises:
        TargetUnavailable: this ONNX Runtime lacks the provider, or it does not load.
    """
    if not runtime.provider_library(provider).is_file():
        raise TargetUnavailable(
            f"the onnxruntime that is installed has no {provider.name}",
            provider.install,
        )
    probe(provider)
    return [{"id": f"{provider.name}:{i}", **device._asdict()} for i, device in enumerate(hardware)]


def plugin_devices(provider: Provider, hardware: Sequence[Hardware]) -> list[dict[str, Any]]:
    """Return the devices of a provider that is a separate library.

    If the provider and the driver list equally many devices, the driver's names are added: both
    order them by PCI bus, unless a mask reorders one of them.

    Raises:
        TargetUnavailable: the library is missing, does not load, or lists no device.
    """
    runtime.plugin_library(provider)
    found = probe(provider) if provider.driver else describe(provider)
    if not found:
        fix = provider.driver.fix if provider.driver else "run on a machine that has one"
        raise TargetUnavailable(f"{provider.name} finds no device", fix)
    if len(found) == len(hardware) and not masks.entries(provider.target.masks):
        return [{**f, **h._asdict()} for f, h in zip(found, hardware, strict=True)]
    return found
