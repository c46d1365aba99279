"""Replaces a directory in a process that is killed once at every step that audit hooks see.

    python killing.py ROOT fresh|swap|aside

`fresh` has no old directory, `swap` exchanges the two in one step where the system can, and `aside`
uses two renames, as on systems that cannot. Prints a JSON line for each step.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from qdeploy.storage import moves
from qdeploy.storage.atomic import OutputKind, atomic_directory, check_output

NAMES = ("weights", "marker")
KIND = OutputKind("marker", lambda _: NAMES)


def replace(destination: Path, content: str) -> None:
    with atomic_directory(destination, KIND, force=True) as folder:
        for name in NAMES:
            (folder / name).write_text(content)


def killed_at(step: int, destination: Path) -> bool:
    """Replace *destination* in a fork that is killed at step n; False if it has fewer steps."""
    forked = os.fork()
    if forked == 0:
        steps = itertools.count(1)

        def kill(*_: Any) -> None:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        replace(destination, "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == -signal.SIGKILL


def state(folder: Path) -> str:
    """Return `old`, `new` or `absent` where it is whole; else its content."""
    if not folder.exists():
        return "absent"
    found = {p.name: p.read_text() for p in folder.iterdir()}
    whole = next((c for c in ("old", "new") if found == dict.fromkeys(NAMES, c)), None)
    return whole or repr(found)


def main(root: Path, mode: str) -> None:
    if mode == "aside":
        moves._exchange = lambda one, other: False
    for step in itertools.count(1):
        destination = root / str(step) / "out"
        destination.parent.mkdir()
        if mode != "fresh":
            replace(destination, "old")
        killed = killed_at(step, destination)
        at_once = state(destination)
        check_output(destination, KIND, force=True)
        afterwards = state(destination)
        replace(destination, "new")
        left = sorted(p.name for p in destination.parent.iterdir())
        print(json.dumps({"at_once": at_once, "afterwards": afterwards, "left": left}))
        if not killed:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
