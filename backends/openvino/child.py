"""Running the probe in its child process, and what can go wrong there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qdeploy.errors import TargetUnavailable

PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from qdeploy.backends.openvino import probe; probe.main()"
)
"""The probe with this process's own import path. `python -m` would put the working directory
first, so that an `openvino.py` lying there would be run."""
SECONDS = 60.0
"""A first contact with a driver may compile; a minute is far above that, and still finite."""


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
    return run([sys.executable, "-c", PROGRAM, plugin, *sys.path], plugin, SECONDS)


def run(command: Sequence[str], plugin: str, seconds: float) -> Answer:
    """Run *command* for at most so many seconds and read its answer.

    Raises:
        TargetUnavailable: see `probe`.
    """
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise _broken(plugin, f"did not answer within {seconds:g} s") from None
    if child.returncode != 0:
        complaint = child.stderr.strip().splitlines()[-1:]
        raise _broken(plugin, ": ".join([_ending(child.returncode), *complaint]))
    try:
        # Drivers print to stdout too; the answer is the last line.
        return _parse(json.loads(child.stdout.strip().splitlines()[-1]))
    except (IndexError, KeyError, TypeError, ValueError):
        raise _broken(plugin, f"answered {child.stdout[-200:]!r}") from None


def _parse(raw: dict[str, Any]) -> Answer:
    return Answer(tuple(_found(device) for device in raw["devices"]), raw["error"])


def _found(raw: dict[str, Any]) -> Found:
    memory = raw["memory_bytes"]
    driver = raw["driver"]
    return Found(
        id=str(raw["id"]),
        name=str(raw["name"]),
        memory_bytes=None if memory is None else int(memory),
        driver=None if driver is None else str(driver),
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _broken(plugin: str, how: str) -> TargetUnavailable:
    return TargetUnavailable(
        f"the {plugin} driver cannot be used: the process that loaded it {how}",
        f"install Intel's current {plugin} driver",
    )
