"""Runs a peer's program in the environment that the peer is installed in."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
LOG = "log.txt"


class PeerFailed(Exception):
    """A peer's program failed; the message has its last words."""


def run(python: Path, program: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Run `peers/PROGRAM.py` with *job* as JSON on its input; what it says in its last line.

    A job has the `model`'s folder, the `output` folder, the `sequences` of token ids, `group_size`,
    `symmetric`, and what else the program reads. Its output goes to a log file in `output`.

    Raises:
        PeerFailed: it failed.
    """
    folder = Path(job["output"])
    folder.mkdir(parents=True, exist_ok=True)
    # the peer's own folder comes first, and no package of this environment is seen
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with (folder / LOG).open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [str(python), str(PEERS / f"{program}.py")],
            input=json.dumps(dict(job)),
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        )
        log.write(done.stdout)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (folder / LOG).read_text(encoding="utf-8").splitlines()[-1:]
        raise PeerFailed(f"{program} ended with {done.returncode}: {' '.join(last)}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found
