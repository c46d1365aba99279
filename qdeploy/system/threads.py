"""How many threads a computation should have: what this process may use, one per physical core.

Three limits hold at once: the processors of the affinity mask, the cores that these processors are
(two SMT siblings share one core's arithmetic units), and the CPU quota of the control groups. The
runtimes look at the first or the second; none looks at the quota, and onnxruntime-genai takes half
of all processors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path("/")


def usable_threads(root: Path | None = None) -> int:
    """Threads that this process can keep busy: its physical cores, or its CPU quota rounded up.

    *root* is the root of the file system, where Linux describes the processors.
    """
    root = root or ROOT
    cores = _physical_cores(_affinity(), root)
    quota = _quota(root)
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _affinity() -> frozenset[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _physical_cores(processors: Iterable[int], root: Path) -> int:
    """Cores that these processors are; each is its own where the topology is unknown."""
    folder = root / "sys/devices/system/cpu"
    siblings = {
        _text(folder / f"cpu{number}/topology/thread_siblings_list") or str(number)
        for number in processors
    }
    return len(siblings)


def _quota(root: Path) -> float | None:
    """The least CPU quota of the control groups that contain this process, in processors.

    None without a limit.
    """
    return min(filter(None, map(_limit, _control_groups(root))), default=None)


def _control_groups(root: Path) -> Iterator[Path]:
    """Directories of this process' control groups, from its own up to the root of the mount.

    A container may see the host's path here and its own group at the root of the mount, so the
    directories of a path need not exist.
    """
    mount = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = mount / "cpu" if controllers else mount
        group = base / path.strip("/")
        yield from (group, *(p for p in group.parents if p == base or base in p.parents))


def _limit(group: Path) -> float | None:
    """The quota of one control group over its period, version 2 or 1; None without a limit."""
    quota, period = [*(_text(group / "cpu.max") or "").split(), "", ""][:2]
    if not quota:
        quota = _text(group / "cpu.cfs_quota_us") or ""
        period = _text(group / "cpu.cfs_period_us") or ""
    if quota.isdigit() and period.isdigit() and int(quota) and int(period):
        return int(quota) / int(period)
    return None  # "max", -1, or no such file


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
