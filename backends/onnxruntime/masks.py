"""The environment variables that hide devices from a process and number the others anew.

The drivers' own lists know nothing of them; the libraries under a provider go by them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

from qdeploy.errors import TargetUnavailable

Device = TypeVar("Device")
NVIDIA = ("CUDA_VISIBLE_DEVICES",)
AMD = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""In the order in which they apply: the second counts what the first leaves."""


def are_set() -> bool:
    """Whether any is, so that numbers are not those of the bus."""
    return any(name in os.environ for name in (*NVIDIA, *AMD))


def visible(found: Mapping[str, Device], names: Sequence[str], listing: str) -> list[Device]:
    """What these variables leave of *found*, in their order.

    An entry is a number or the beginning of a unique id; one that is neither ends the list. Source:
    CUDA programming guide, "CUDA Environment Variables"; HIP and ROCr go by the same rules.

    Args:
        found: devices by unique id, in the driver's order.
        names: of the variables.
        listing: the command that lists devices with their ids.

    Raises:
        TargetUnavailable: they leave nothing.
    """
    shown = list(found)
    for name in names:
        if (mask := os.environ.get(name)) is None:
            continue
        shown = _shown(shown, mask)
        if not shown:
            raise TargetUnavailable(
                f"every device is hidden: {name} is {mask!r}",
                f"unset {name}, or set it to devices that `{listing}` lists",
            )
    return [found[identity] for identity in shown]


def _shown(ids: Sequence[str], mask: str) -> list[str]:
    shown: list[str] = []
    for entry in mask.split(","):
        entry = entry.strip()
        if entry.isdecimal():
            meant = [ids[int(entry)]] if int(entry) < len(ids) else []
        else:
            meant = [i for i in ids if entry and i.lower().startswith(entry.lower())]
        if len(meant) != 1:
            break
        shown += meant
    return shown
