"""Runs a program, and ends it with every process that it started when the parent ends.

    python -I -S supervisor.py GRACE PROGRAM ARGUMENT...

The parent holds the other end of standard input. It closes it when the program should end, and the
system does however the parent ends, `kill -9` included. The program is then sent SIGTERM, and
SIGKILL GRACE seconds later; at once if the parent wrote `KILL` before. Exits with the program's
code, 128 + n after signal n.

It runs by its path, imports the standard library only and starts in some 20 ms. POSIX; on Linux it
adopts orphans (`PR_SET_CHILD_SUBREAPER`), so that it finds processes that left the program's group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Numbers of prctl(2). The signal at the parent's death is for the case that this process is killed
with SIGKILL itself."""
ON_LINUX = sys.platform == "linux"
KILL = b"k"


def main(grace: float, command: list[str]) -> int:
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    process = subprocess.Popen(  # in a group of its own: a terminal's Ctrl-C is not for it
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # no thread runs yet
    )
    threading.Thread(target=_end_with_parent, args=(process, grace), daemon=True).start()
    code = process.wait()
    _kill_the_rest(process.pid)
    return 128 - code if code < 0 else code


def _end_with_parent(process: subprocess.Popen[bytes], grace: float) -> None:
    if os.read(0, 1) != KILL:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    _signal_group(process.pid, signal.SIGKILL)


def _kill_the_rest(group: int) -> None:
    """Kill what the program left, until this process has no child."""
    while True:
        _signal_group(group, signal.SIGKILL)
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # its own children become this process's
        except ChildProcessError:
            return


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def descendants(ancestor: int) -> Iterator[int]:
    """Yield the ids of all processes that descend from one. Linux only; elsewhere none."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if ON_LINUX else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # the fields behind the command's name, which may hold spaces: state, parent
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found = children.get(ancestor, [])
    for pid in found:
        yield pid
        found.extend(children.get(pid, []))


def _prctl(option: int, value: int) -> None:
    if ON_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
