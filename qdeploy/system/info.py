"""Processor, memory and power supply of this machine, and versions of what is installed."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal

SUPPLIES = Path("/sys/class/power_supply")
CPUINFO = Path("/proc/cpuinfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of the control group that a container is, as Linux shows it from inside."""


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Physical memory, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no sysconf on Windows
        return None


def usable_memory_bytes(limit: Path = LIMIT) -> int | None:
    """Physical memory, or what the control group allows where that is less; None if none tells."""
    memory = memory_bytes()
    try:
        allowed = int(limit.read_text(encoding="ascii"))
    except (OSError, ValueError):  # none, or "max"
        return memory
    return min(memory, allowed) if memory else allowed


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """The processor's product name; on systems that do not tell, its architecture."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


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


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Of those distributions that are installed: a name that is missing here is left out."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
