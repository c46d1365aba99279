"""CPU, memory and power supply of this machine, and versions of installed distributions."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal

SUPPLIES = Path("/sys/class/power_supply")
CPUINFO = Path("/proc/cpuinfo")
VENDORS = {
    "GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon",
    "CentaurHauls": "Zhaoxin", "Shanghai": "Zhaoxin",
    "0x41": "Arm", "0x42": "Broadcom", "0x43": "Cavium", "0x46": "Fujitsu", "0x48": "HiSilicon",
    "0x4e": "NVIDIA", "0x50": "Applied Micro", "0x51": "Qualcomm", "0x61": "Apple",
    "0x69": "Intel", "0x6d": "Microsoft", "0x70": "Phytium", "0xc0": "Ampere",
}  # fmt: skip
"""By the vendor's CPUID string (x86), or the implementer in ARM's MIDR_EL1."""
LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Memory limit of the container's control group, as Linux shows it from inside."""


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Return the size of physical memory, or None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no sysconf on Windows
        return None


def usable_memory_bytes(limit: Path = LIMIT) -> int | None:
    """Return the size of physical memory or the control group's limit, whichever is less."""
    memory = memory_bytes()
    try:
        allowed = int(limit.read_text(encoding="ascii"))
    except (OSError, ValueError):  # none, or "max"
        return memory
    return min(memory, allowed) if memory else allowed


def cpu_name(cpuinfo: Path | None = None) -> str:
    """Return the CPU's product name, or its architecture if the system does not report the name."""
    said = _cpuinfo("model name", cpuinfo) or _cpuinfo("Hardware", cpuinfo)
    return said or platform.processor() or platform.machine()


def cpu_vendor(cpuinfo: Path | None = None) -> str | None:
    """Return the CPU's vendor by its trade name, e.g. `Intel`, or None if it is unknown.

    Linux lists it in cpuinfo: x86 the CPUID string, ARM the implementer's number. Windows puts it
    at the end of PROCESSOR_IDENTIFIER. An ARM Mac has an Apple CPU, any other an Intel CPU.
    """
    for key in ("vendor_id", "CPU implementer"):
        if said := _cpuinfo(key, cpuinfo):
            return VENDORS.get(said, said)
    if sys.platform == "darwin":
        return "Apple" if platform.machine() == "arm64" else "Intel"
    _, comma, said = os.environ.get("PROCESSOR_IDENTIFIER", "").rpartition(", ")
    return VENDORS.get(said, said) if comma else None


def other_cpu(vendor: str | None) -> str | None:
    """Describe a CPU of another vendor than a target's, e.g. `an AMD CPU`.

    Return None if the CPU is of *vendor*, or if that is None, which is any vendor.
    """
    found = cpu_vendor()
    if vendor in (None, found):
        return None
    if found is None:
        return "a CPU of an unknown vendor"
    return f"{'an' if found[0] in 'AEIOUaeiou' else 'a'} {found} CPU"


def cpu_flags(cpuinfo: Path | None = None) -> frozenset[str]:
    """Return the CPU's instruction sets by their Linux names; empty on systems without cpuinfo.

    The line is called `flags` on x86 and `Features` on ARM.
    """
    said = _cpuinfo("flags", cpuinfo) or _cpuinfo("Features", cpuinfo) or ""
    return frozenset(said.split())


def _cpuinfo(key: str, cpuinfo: Path | None) -> str | None:
    """Return the value of the first line with that key and a value."""
    try:
        with (cpuinfo or CPUINFO).open(encoding="utf-8", errors="replace") as lines:
            pairs = (line.partition(":") for line in lines)
            return next((v.strip() for k, _, v in pairs if k.strip() == key and v.strip()), None)
    except OSError:
        return None


def power(supplies: Path = SUPPLIES) -> Literal["mains", "battery"] | None:
    """Return the power source by Linux' power supply class, or None if it is unknown.

    Most machines without a battery list no supply.
    """
    found: set[Literal["mains", "battery"]] = set()
    for supply in sorted(supplies.glob("*")):
        if _word(supply / "scope") == "Device":  # the battery of a mouse, for example
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
    """Return the versions of those distributions that are installed, by name."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
