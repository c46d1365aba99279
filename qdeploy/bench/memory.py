"""What the kernel says about this process: memory at its peak, number of threads."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int | None:
    """Resident memory of this process at its peak, mapped files included; None on Windows.

    VmHWM on Linux: `ru_maxrss` would be the parent's, if that was larger when this one was started.
    """
    peak = status_number("VmHWM")
    if peak is not None:
        return 1024 * peak
    try:
        import resource
    except ImportError:
        return None
    used: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def threads() -> int | None:
    """Threads of this process, whoever started them; None off Linux."""
    return status_number("Threads")


def status_number(key: str, status: Path = STATUS) -> int | None:
    """The number under *key* of /proc/self/status, in the unit that stands there."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == key and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0])
    return None
