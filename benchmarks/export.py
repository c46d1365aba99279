"""Time exporters beside each other on one checkpoint, int4 for a CPU, and watch their memory.

    python benchmarks/export.py CHECKPOINT [--format onnx] [--rounds 3]

Contenders take turns, since machines drift, and each finds the checkpoint in the system's cache.
The table has medians, and ratios taken round by round.
Memory is the peak of anonymous memory (RssAnon) summed over a contender's processes, sampled from
/proc twenty times a second, so Linux only. Needs `qdeploy[optimum]`; for the format `onnx`, beside
`qdeploy[onnx]`, what onnxruntime-genai's builder wants: torch, transformers and onnx-ir.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

OURS = "qdeploy native"


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds and peak anonymous bytes of one run."""

    seconds: float
    anonymous: int


def contenders(checkpoint: Path, out: Path, format: str) -> dict[str, list[str]]:
    """Command line of each contender, all writing to *out*, in four bits and groups of 128."""
    tools = Path(sys.executable).parent
    qdeploy = [str(tools / "qdeploy"), "export", str(checkpoint), "-o", str(out)]
    if format == "onnx":
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint)]
        options = ["-p", "int4", "-e", "cpu", "--extra_options", "int4_block_size=128"]
        return {
            OURS: [*qdeploy, "--target", "cpu", "--exporter", "native"],
            "genai builder": [*builder, "-o", str(out), *options],
        }
    optimum = [str(tools / "optimum-cli"), "export", "openvino", "-m", str(checkpoint)]
    int4 = ["--task", "text-generation-with-past", "--weight-format", "int4"]
    return {
        OURS: [*qdeploy, "--target", "intel-cpu", "--exporter", "native"],
        "qdeploy optimum": [*qdeploy, "--target", "intel-cpu", "--exporter", "optimum"],
        "optimum-cli": [*optimum, *int4, "--group-size", "128", "--ratio", "1.0", str(out)],
    }


def warm(checkpoint: Path) -> None:
    """Read the checkpoint into the system's cache, from where the run before may have pushed it."""
    for file in checkpoint.glob("*.safetensors"):
        with file.open("rb", buffering=0) as content:
            while content.read(2**24):
                pass


def measure(command: list[str]) -> Cost:
    """Run *command* to its end; its output is thrown away.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    began, peak = time.perf_counter(), 0
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(time.perf_counter() - began, peak)


def anonymous_bytes(root: int) -> int:
    """RssAnon of a process and all of its descendants, now."""
    parents: dict[int, int] = {}
    memory: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
        except OSError:  # it ended meanwhile
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        parents[int(folder.name)] = int(fields["PPid"])
        memory[int(folder.name)] = 1024 * int(fields.get("RssAnon", "0 kB").split()[0])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(memory.get(pid, 0) for pid in family)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--format", choices=("openvino", "onnx"), default="openvino")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", action="append", default=[], help="a contender to leave out")
    arguments = parser.parse_args()

    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        lines = contenders(arguments.checkpoint, out, arguments.format)
        for _ in range(arguments.rounds):
            for name, command in lines.items():
                if name not in arguments.skip:
                    warm(arguments.checkpoint)
                    costs.setdefault(name, []).append(measure(command))
                    shutil.rmtree(out)

    print(f"{'':18}{'wall s':>10}{'peak MB':>10}{'wall x':>10}{'memory x':>10}")
    for name, runs in costs.items():
        pairs = list(zip(runs, costs[OURS], strict=True))
        row = (
            statistics.median(c.seconds for c in runs),
            statistics.median(c.anonymous for c in runs) / 1e6,
            statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs),
            statistics.median(theirs.anonymous / ours.anonymous for theirs, ours in pairs),
        )
        print(f"{name:18}" + "".join(f"{value:10.1f}" for value in row))


if __name__ == "__main__":
    main()
