"""What the probe in its child process said of a plugin's devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from qdeploy.errors import TargetUnavailable
from qdeploy.system import probing

PROBE = "qdeploy.backends.openvino.probe"


@dataclass(frozen=True)
class Found:
    """A device as the probe describes it; None where the driver does not tell."""

    id: str
    name: str
    memory_bytes: int | None
    driver: str | None


@dataclass(frozen=True)
class Answer:
    """What the probe said: devices, or the plugin's own error."""

    devices: tuple[Found, ...]
    error: str | None


def probe(plugin: str) -> Answer:
    """Ask *plugin*, `GPU` or `NPU`, for its devices.

    Raises:
        TargetUnavailable: the child crashed, hung or said nothing that makes sense.
    """
    return read(plugin, partial(probing.ask, PROBE, plugin))


def read(plugin: str, ask: Callable[[], Any]) -> Answer:
    """Make sense of what *ask* returns; raises as `probe`."""
    try:
        raw = ask()
        try:
            return Answer(tuple(_found(device) for device in raw["devices"]), raw["error"])
        except (KeyError, TypeError, ValueError):
            raise probing.ProbeFailed(f"answered {raw!r}") from None
    except probing.ProbeFailed as error:
        raise TargetUnavailable(
            f"the {plugin} driver cannot be used: the process that loaded it {error}",
            f"install Intel's current {plugin} driver",
        ) from None


def _found(raw: dict[str, Any]) -> Found:
    memory = raw["memory_bytes"]
    driver = raw["driver"]
    return Found(
        id=str(raw["id"]),
        name=str(raw["name"]),
        memory_bytes=None if memory is None else int(memory),
        driver=None if driver is None else str(driver),
    )
