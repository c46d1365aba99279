"""The environment variables that hide devices from a process and renumber the others.

Drivers list every device whatever these variables say; the runtimes above them apply the variables.
A target's row names its variables (`Target.masks`); they are read here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

from qdeploy.errors import TargetUnavailable

Device = TypeVar("Device")


def entries(variables: Sequence[str]) -> dict[str, list[str]]:
    """What each variable lists, of those that are set: indices, or the beginnings of unique ids."""
    return {
        name: [entry.strip() for entry in os.environ[name].split(",")]
        for name in variables
        if name in os.environ
    }


def visible(found: Mapping[str, Device], variables: Sequence[str], listing: str) -> list[Device]:
    """The devices of *found* that the variables leave, in their order.

    An entry is an index or the beginning of a unique id; one that is neither ends the list. Source:
    CUDA programming guide, "CUDA Environment Variables"; HIP and ROCr follow the same rules.

    Args:
        found: devices by unique id, in the driver's order.
        variables: in the order in which they apply.
        listing: the command that lists devices with their ids.

    Raises:
        TargetUnavailable: they leave nothing.
    """
    shown = list(found)
    for name, listed in entries(variables).items():
        shown = _shown(shown, listed)
        if not shown:
            raise TargetUnavailable(
                f"every device is hidden: {name} is {os.environ[name]!r}",
                f"unset {name}, or set it to devices that `{listing}` lists",
            )
    return [found[identity] for identity in shown]


def _shown(ids: Sequence[str], listed: Sequence[str]) -> list[str]:
    shown: list[str] = []
    for entry in listed:
        if entry.isdecimal():
            meant = [ids[int(entry)]] if int(entry) < len(ids) else []
        else:
            meant = [i for i in ids if entry and i.lower().startswith(entry.lower())]
        if len(meant) != 1:
            break
        shown += meant
    return shown
