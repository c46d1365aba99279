"""Peak memory and number of threads of this process, as the kernel reports them.

Runtimes that live in processes of their own count, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from qdeploy.system.descendants import PROC, descendants

STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int | None:
    """Return the peak of resident memory, mapped files included; None on Windows.

    On Linux it is VmHWM: `ru_maxrss` starts at the parent's size when a process is started. The
    peaks of the processes that this one started, and that live, are added. Elsewhere they are not.
    """
    peak = status_number("VmHWM")
    if peak is not None:
        others = (PROC / str(pid) / "status" for pid in descendants(os.getpid()))
        return 1024 * (peak + sum(status_number("VmHWM", other) or 0 for other in others))
    try:
        import resource
    except ImportError:
        return None
    used: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def threads() -> int | None:
    """Return the number of threads of this process, runtimes' included; None except on Linux."""
    return status_number("Threads")


def status_number(key: str, status: Path = STATUS) -> int | None:
    """Return the number at *key* in /proc/self/status, in the unit used there."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == key and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0])
    return None
