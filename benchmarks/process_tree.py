"""Memory, threads and open files of a process and all that it started, as Linux tells them."""

from __future__ import annotations

from dataclasses import dataclass

from qdeploy.system.descendants import PROC, descendants


@dataclass(frozen=True)
class Usage:
    """What the processes of a tree use together.

    Attributes:
        memory_bytes: resident memory that is no file's: weights that are mapped are not counted.
    """

    memory_bytes: int
    threads: int
    files: int

    def __str__(self) -> str:
        megabytes = self.memory_bytes / 1e6
        return f"{megabytes:.0f} MB, {self.threads} threads, {self.files} files"


def usage_of(pid: int) -> Usage:
    """Add up a process and its descendants; one that ends meanwhile is left out."""
    memory = threads = files = 0
    for each in (pid, *descendants(pid)):
        try:
            status = dict(
                line.split(":", 1)
                for line in (PROC / str(each) / "status").read_text().splitlines()
            )
            files += len(list((PROC / str(each) / "fd").iterdir()))
            memory += 1024 * int(status["RssAnon"].split()[0])
            threads += int(status["Threads"])
        except (OSError, KeyError):
            continue
    return Usage(memory, threads, files)
