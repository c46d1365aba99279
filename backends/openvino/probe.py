"""Asks one plugin for its devices, in a worker process.

Loading a plugin runs the vendor's driver, and a broken driver may abort or hang the process it
is loaded into (openvino.genai issue 3429), so that must not be the user's own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qdeploy.backends.openvino import runtime
from qdeploy.backends.openvino.errors import essence
from qdeploy.errors import TargetUnavailable
from qdeploy.system.parent import Parent
from qdeploy.system.worker import WorkerFailed, run_worker

MEMORY = {"GPU": "GPU_DEVICE_TOTAL_MEM_SIZE", "NPU": "NPU_DEVICE_TOTAL_MEM_SIZE"}
DRIVER = {"GPU": "GPU_DRIVER_VERSION", "NPU": "NPU_DRIVER_VERSION"}
SECONDS = 60.0
"""A first contact with a driver may compile; a minute is far above that."""


@dataclass(frozen=True)
class Found:
    """A device as the plugin describes it; None where the driver does not report it."""

    id: str
    name: str
    memory_bytes: int | None
    driver: str | None


@dataclass(frozen=True)
class Answer:
    """What a plugin said: devices, or its own error."""

    devices: tuple[Found, ...]
    error: str | None


def probe(plugin: str) -> Answer:
    """Ask *plugin*, `GPU` or `NPU`, for its devices.

    Raises:
        TargetUnavailable: the worker crashed or hung.
    """
    try:
        answer = run_worker(work, plugin, seconds=SECONDS)
    except WorkerFailed as error:
        raise TargetUnavailable(
            f"the {plugin} driver cannot be used: the process that loaded it {error}",
            f"install Intel's current {plugin} driver",
        ) from None
    return Answer(tuple(Found(**device) for device in answer["devices"]), answer["error"])


def work(plugin: str, parent: Parent) -> dict[str, Any]:
    """The worker's end: an `Answer` as plain data."""
    return asdict(ask(runtime.load().ov.Core(), plugin))


def ask(core: Any, plugin: str) -> Answer:
    """Return what *plugin*, `GPU` or `NPU`, says about its devices."""
    try:
        numbers = core.get_property(plugin, "AVAILABLE_DEVICES")
        return Answer(tuple(_describe(core, plugin, number) for number in numbers), None)
    except RuntimeError as error:
        return Answer((), essence(error))


def _describe(core: Any, plugin: str, number: str) -> Found:
    # An NPU's "number" is its architecture; OpenVINO runs one NPU, under the plain name.
    device = f"GPU.{number}" if plugin == "GPU" else plugin
    memory, driver = (_optional(core, device, names[plugin]) for names in (MEMORY, DRIVER))
    return Found(
        id=device,
        name=str(core.get_property(device, "FULL_DEVICE_NAME")),
        memory_bytes=None if memory is None else int(memory),
        driver=None if driver is None else str(driver),
    )


def _optional(core: Any, device: str, name: str) -> Any:
    try:
        return core.get_property(device, name)
    except RuntimeError:  # this driver does not report it
        return None
