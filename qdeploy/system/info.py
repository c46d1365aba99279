"""Processor, memory and power supply of this machine, and versions of what is installed."""

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


def cpu_name(cpuinfo: Path | None = None) -> str:
    """The processor's product name; its architecture on systems that do not give the name."""
    said = _cpuinfo("model name", cpuinfo) or _cpuinfo("Hardware", cpuinfo)
    return said or platform.processor() or platform.machine()


def cpu_vendor(cpuinfo: Path | None = None) -> str | None:
    """The processor's vendor by the name it trades under, e.g. `Intel`; None where it is unknown.

    Linux names it in cpuinfo, x86 by the CPUID string and ARM by the implementer's number; Windows
    names it at the end of an environment variable. Every Mac that is not Intel's is Apple's.
    """
    for key in ("vendor_id", "CPU implementer"):
        if said := _cpuinfo(key, cpuinfo):
            return VENDORS.get(said, said)
    if sys.platform == "darwin":
        return "Apple" if platform.machine() == "arm64" else "Intel"
    _, comma, said = os.environ.get("PROCESSOR_IDENTIFIER", "").rpartition(", ")
    return VENDORS.get(said, said) if comma else None


def other_cpu(vendor: str) -> str | None:
    """What this processor is, e.g. `an AMD CPU`, where it is not of *vendor*; None where it is."""
    found = cpu_vendor()
    if found == vendor:
        return None
    if found is None:
        return "a CPU of an unknown vendor"
    return f"{'an' if found[0] in 'AEIOUaeiou' else 'a'} {found} CPU"


def cpu_flags(cpuinfo: Path | None = None) -> frozenset[str]:
    """The processor's instruction sets by Linux' names; empty where the system does not list them.

    x86 calls the line `flags`, ARM `Features`.
    """
    said = _cpuinfo("flags", cpuinfo) or _cpuinfo("Features", cpuinfo) or ""
    return frozenset(said.split())


def _cpuinfo(key: str, cpuinfo: Path | None) -> str | None:
    """The value of the first line of that key which has one."""
    try:
        with (cpuinfo or CPUINFO).open(encoding="utf-8", errors="replace") as lines:
            pairs = (line.partition(":") for line in lines)
            return next((v.strip() for k, _, v in pairs if k.strip() == key and v.strip()), None)
    except OSError:
        return None


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
