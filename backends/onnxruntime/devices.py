"""Finding the devices of a target on this machine, and telling why there is none."""

from __future__ import annotations

import os
import platform
from ctypes.util import find_library
from glob import glob
from typing import Any

from qdeploy import probing
from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.providers import BY_TARGET, Driver, Provider
from qdeploy.errors import InputError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.targets import Target

PROBE = "qdeploy.backends.onnxruntime.probe"


def find(target: Target) -> list[Device]:
    """Return the devices of *target*, at least one.

    Raises:
        InputError: the target is none of ONNX Runtime's.
        TargetUnavailable: runtime, provider, driver or hardware is absent.
    """
    provider = BY_TARGET.get(target.name)
    if provider is None:
        raise InputError(
            f"ONNX Runtime does not serve the target {target.name}",
            fix="choose one of: " + ", ".join(BY_TARGET),
        )
    if provider.driver:
        _check_driver(provider, provider.driver)
    ort = runtime.load()
    if provider.plugin:
        found = plugin_devices(provider)
    elif provider.name in ort.get_available_providers():
        found = builtin_devices(provider)
    else:
        raise TargetUnavailable(
            f"the installed onnxruntime {ort.__version__} has no {provider.name}",
            f"pip uninstall onnxruntime; pip install {provider.package}",
        )
    return [Device(target=target.name, **described) for described in found]


def _check_driver(provider: Provider, driver: Driver) -> None:
    if driver.files and os.name == "posix" and not glob(driver.files):
        raise TargetUnavailable(
            f"no hardware for {provider.name}: there is no {driver.files}", driver.fix
        )
    if driver.library and not find_library(driver.library):
        raise TargetUnavailable(
            f"the driver under {provider.name} is missing: no library {driver.library!r} is found",
            driver.fix,
        )


def builtin_devices(provider: Provider) -> list[dict[str, Any]]:
    """Devices of a provider that is part of ONNX Runtime: it does not list them itself."""
    if provider.driver is None:
        return [{"id": provider.name, "name": cpu_name(), "memory_bytes": host_memory()}]
    count = len(glob(provider.driver.files)) if provider.driver.files else 1
    return [
        {"id": f"{provider.name}:{i}", "name": f"{provider.target.title}, device {i}"}
        for i in range(max(1, count))
    ]


def plugin_devices(provider: Provider) -> list[dict[str, Any]]:
    """Devices of a provider that is a library of its own, asked in a child process if it has a
    driver under it, which may crash.
    """
    if provider.driver is None:
        found = describe(provider)
    else:
        try:
            found = probing.ask(PROBE, provider.target.name)
        except probing.ProbeFailed as error:
            raise TargetUnavailable(
                f"the driver under {provider.name} cannot be used: the process that loaded it "
                f"{error}",
                provider.driver.fix,
            ) from None
    if not found:
        fix = provider.driver.fix if provider.driver else "run on a machine that has one"
        raise TargetUnavailable(f"{provider.name} finds no device", fix)
    return found


def describe(provider: Provider) -> list[dict[str, Any]]:
    """What a plugin says of its devices, as plain data."""
    many = len(found := runtime.plugin_devices(provider)) > 1
    return [
        {
            "id": f"{provider.name}:{i}" if many else provider.name,
            "name": f"{cpu_name() if provider.driver is None else _hardware(d)} ({d.ep_vendor})",
            "memory_bytes": host_memory() if provider.driver is None else None,
        }
        for i, d in enumerate(found)
    ]


def _hardware(device: Any) -> str:
    metadata = dict(device.device.metadata)
    return str(metadata.get("Description") or metadata.get("description") or device.device.vendor)


def cpu_name() -> str:
    """The processor's product name, or its architecture where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = (line.partition(":") for line in file)
            return next(value.strip() for key, _, value in lines if key.strip() == "model name")
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def host_memory() -> int | None:
    """Bytes of physical memory, where the system tells through POSIX."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
