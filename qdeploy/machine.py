"""Facts about this machine, as results state them."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from qdeploy import host
from qdeploy.results import Machine

SUPPLIES = Path("/sys/class/power_supply")


def describe(name: str | None = None) -> Machine:
    """Describe this machine, by the name its owner gives it or its host's. Measures nothing."""
    return Machine(
        name=name or platform.node() or "unnamed",
        system=" ".join((platform.system(), platform.release(), platform.machine())),
        cpu=host.cpu_name(),
        cores=host.cores(),
        memory_bytes=host.memory_bytes(),
        power=power(),
    )


def power(supplies: Path = SUPPLIES) -> Literal["mains", "battery"] | None:
    """Where the power comes from, by Linux' power supply class; None where it does not tell.

    Most machines without a battery list no supply at all.
    """
    found: set[Literal["mains", "battery"]] = set()
    for supply in sorted(supplies.glob("*")):
        if _word(supply / "scope") == "Device":  # of a mouse, say
            continue
        kind = _word(supply / "type")
        if kind == "Battery" and _word(supply / "status") == "Discharging":
            found.add("battery")
        elif kind != "Battery" and _word(supply / "online") == "1":
            found.add("mains")
    return "mains" if "mains" in found else "battery" if found else None


def _word(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
