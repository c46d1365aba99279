"""Which of the devices found a user means: by place, by id, or a server by its address."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.errors import InputError
from qdeploy.interface import Device


def is_address(device: int | str) -> bool:
    """Whether a device is given by the address of a server."""
    return isinstance(device, str) and "://" in device


def picked(found: list[Device], wanted: Sequence[int | str]) -> list[Device]:
    """Return the devices of these places or ids, in order.

    Raises:
        InputError: one of them is not there, or is given twice.
    """
    if not wanted:
        raise InputError("no device is given", fix=f"choose from {_listing(found)}")
    chosen = [_pick(found, name) for name in wanted]
    for name, device in zip(wanted, chosen, strict=True):
        if chosen.count(device) > 1:
            raise InputError(
                f"device {name} is given twice", where=device.id, fix="name each device once"
            )
    return chosen


def _pick(found: list[Device], name: int | str) -> Device:
    """Return the device with this place in the list, or this id, with or without its number."""
    for place, device in enumerate(found):
        if str(name) in (str(place), device.id, device.id.partition(":")[0]):
            return device
    shown = str(name) or "without a name"
    raise InputError(f"there is no device {shown}", fix=f"choose one of {_listing(found)}")


def _listing(found: list[Device]) -> str:
    return ", ".join(f"{i}: {d.name} ({d.id})" for i, d in enumerate(found))
