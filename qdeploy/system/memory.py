"""Memory that is free on this machine, and errors that say that there was too little."""

from __future__ import annotations

from pathlib import Path

from qdeploy.system import info

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
KILLED = (-9, 137)
"""Exit codes of a process that the system killed, as it does when memory runs out; the second is a
shell's."""
SIGNS = (
    "bad_alloc", "bad allocation", "out of memory", "out_of_memory", "failed to allocate memory",
    "can't alloc", "cannot allocate memory", "unable to allocate", "alloc_failed",
    "available memory of", "cl_mem_object_allocation_failure", "cl_out_of_resources",
    "exceeded max size of memory",
)  # fmt: skip
"""What allocators, runtimes and drivers say, in lower case."""
LESS = (
    "close other programs, or give a shorter --context, a profile of fewer bits or a smaller model"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python, a runtime or a driver says that memory ran out."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in said for sign in SIGNS)


def out_of_memory(said: str) -> str:
    """What a runtime *said*, told as a want of memory."""
    return said if said.lower().startswith("out of memory") else f"out of memory ({said})"


def available_bytes(meminfo: Path | None = None, cgroup: Path | None = None) -> int | None:
    """Bytes that programs can still allocate without swapping, or None if it is not known.

    The kernel's estimate (MemAvailable), or what the control group's limit leaves if that is less.
    """
    free = [_meminfo(meminfo or MEMINFO), _below_limit(cgroup or CGROUP)]
    known = [number for number in free if number is not None]
    return min(known) if known else info.usable_memory_bytes()


def _meminfo(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _below_limit(folder: Path) -> int | None:
    try:
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        return max(0, limit - int((folder / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # none, or "max"
        return None
