"""Asks one provider for its devices, in a worker process: a driver may end the one it is in."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.onnxruntime import runtime, simulated_devices
from qdeploy.backends.onnxruntime.providers import Provider, named
from qdeploy.errors import TargetUnavailable
from qdeploy.system import info
from qdeploy.system.parent import Parent
from qdeploy.system.worker import WorkerFailed, run_worker

SECONDS = 60.0
"""A first contact with a driver may compile; a minute is far above that."""


def probe(provider: Provider) -> list[dict[str, Any]]:
    """Load *provider* in a worker and return what it says of its devices, as plain data.

    Raises:
        TargetUnavailable: it does not load, or loading it crashed or hung.
    """
    fix = provider.driver.fix if provider.driver else ""
    try:
        with simulated_devices.hidden():
            found = run_worker(work, [provider.target.name, provider.name], seconds=SECONDS)
    except TargetUnavailable as error:
        raise TargetUnavailable(error.reason, error.fix or fix) from None
    except WorkerFailed as error:
        raise TargetUnavailable(
            f"the driver under {provider.name} cannot be used: the process that loaded it {error}",
            fix,
        ) from None
    return list(found)


def work(job: list[str], parent: Parent) -> list[dict[str, Any]]:
    """The worker's end: *job* is the name of a target and of a provider."""
    return load(named(*job))


def load(provider: Provider) -> list[dict[str, Any]]:
    """Load a provider here; a plugin then describes its devices.

    Raises:
        TargetUnavailable: it does not load.
    """
    if provider.plugin:
        return describe(provider)
    runtime.load_provider(provider)
    return []


def describe(provider: Provider) -> list[dict[str, Any]]:
    """What a plugin says of its devices, as plain data."""
    many = len(found := runtime.plugin_devices(provider)) > 1
    return [
        {
            "id": f"{provider.name}:{i}" if many else provider.name,
            "name": f"{info.cpu_name() if provider.driver is None else _name(d)} ({d.ep_vendor})",
            "memory_bytes": info.memory_bytes() if provider.driver is None else None,
        }
        for i, d in enumerate(found)
    ]


def _name(device: Any) -> str:
    """The product name that a plugin or the system gives; else the vendor's."""
    known = {**device.device.metadata, **device.ep_metadata}
    names = ("FULL_DEVICE_NAME", "Description", "description")
    return str(next((known[n] for n in names if known.get(n)), device.device.vendor))
