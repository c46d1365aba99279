"""Exports a checkpoint in a process that a test kills or measures.

    python -m tests.support.exporting PROFILE CHECKPOINT DESTINATION STEP

Unless STEP is 0, the process kills itself at the STEP-th block of weights. Prints the blocks that
it wrote, its peak anonymous memory in bytes, and the packages that it imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdeploy import registry
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy.export import export
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.native.weights_file import writer
from qdeploy.interface import Progress
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile

PROFILES = ("intel-cpu-int4", "cpu-int4", "ascend-int8-onnx", "cpu-int4-torch")
"""One for each format."""
JOURNAL_BYTES = 200_000
"""Bytes between two entries of the journal, scaled down to the size of the test models."""


@dataclass(frozen=True)
class Work:
    """The parent's side: what a process exports, and with which profile."""

    profile: str
    source: Path

    def command(self, destination: Path, step: int = 0) -> list[str]:
        module = [sys.executable, "-m", "tests.support.exporting"]
        return [*module, self.profile, str(self.source), str(destination), str(step)]

    def run(self, destination: Path, step: int = 0) -> dict[str, Any] | None:
        """Return what the process prints at its end; None if it was killed."""
        done = subprocess.run(self.command(destination, step), capture_output=True, text=True)
        if done.returncode == -signal.SIGKILL:
            return None
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def whole(self, destination: Path) -> dict[str, Any]:
        """Return what it prints of an export that is not interrupted."""
        said = self.run(destination)
        assert said is not None, "it was killed"
        return said


class Counting(Progress):
    """Counts blocks, and kills the process at one of them."""

    def __init__(self, step: int) -> None:
        self.last, self.blocks = step, 0

    def written(self, total_bytes: int) -> None:
        self.blocks += 1
        if self.blocks == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class Peak:
    """Samples the anonymous memory of this process and keeps the maximum."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> int:
        self._over.set()
        return self.bytes

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            status = Path("/proc/self/status").read_text()
            line = next(x for x in status.splitlines() if x.startswith("RssAnon"))
            self.bytes = max(self.bytes, int(line.split()[1]) * 1024)


def main(profile_name: str, source: Path, destination: Path, step: int) -> None:
    writer.SAFE_AFTER_BYTES = JOURNAL_BYTES
    chosen = load_profile(profile_name)
    made = make_plan(read_checkpoint(source), chosen, registry.target(chosen.target))
    progress, peak = Counting(step), Peak() if sys.platform == "linux" else None
    export(made, NativeExporter(), destination, progress, force=False)
    said = {
        "blocks": progress.blocks,
        "peak": peak.stop() if peak else 0,
        "imported": sorted({name.partition(".")[0] for name in sys.modules}),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
