"""Time models beside each other on the CPU, each in the runtime that its folder is for.

    python benchmarks/runtime.py OURS THEIRS... [--rounds 5] [--prompt 480] [--new 64] [--threads N]

A folder is loaded by openvino-genai if it has `openvino_model.xml`, by onnxruntime-genai if it has
`genai_config.json`, by qdeploy's backend `torch` if it is another bundle (`qdeploy.json`), and by
transformers if it is a checkpoint (`config.json`). The first is what the others are compared with.
All get the same token ids and the same number of threads (`--threads`, by default one for each
physical core that the process may use); everything else is the runtime's default. Each run has a
process of its own, and the folders take turns, since machines drift. The table has medians; ratios
are computed round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qdeploy.backends.torch.peer import PEER
from qdeploy.bundle import MANIFEST, open_bundle
from qdeploy.deploy import run
from qdeploy.interface import Request
from qdeploy.planning.formats import ONNX, OPENVINO
from qdeploy.system import info
from qdeploy.system.threads import usable_threads

WARM_UP_TOKENS = 8


@dataclass(frozen=True)
class Run:
    """One process' figures: seconds to load, tokens a second, bytes of memory at the peak."""

    load: float
    prefill: float
    decode: float
    memory: int


def openvino(folder: Path, prompt: list[int], new: int, threads: int) -> Run:
    """Generate with openvino-genai on the CPU."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    began = time.perf_counter()
    pipeline = genai.LLMPipeline(str(folder), "CPU", INFERENCE_NUM_THREADS=threads)
    loaded = time.perf_counter() - began
    stamps: list[float] = []

    def heard(_: Any) -> Any:
        stamps.append(time.perf_counter())
        return genai.StreamingStatus.RUNNING

    class Streamer(genai.StreamerBase):  # type: ignore[misc]  # a base without types
        def write(self, token: Any) -> Any:
            return heard(token)

        def end(self) -> None:
            pass

    def generate(ids: list[int], tokens: int) -> float:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos = tokens, True
        stamps.clear()
        start = time.perf_counter()
        pipeline.generate(ov.Tensor(np.array([ids], np.int64)), config, Streamer())
        return start

    generate(prompt[:WARM_UP_TOKENS], WARM_UP_TOKENS)
    return _figures(loaded, prompt, generate(prompt, new), stamps)


def onnxruntime(folder: Path, prompt: list[int], new: int, threads: int) -> Run:
    """Generate with onnxruntime-genai on the CPU."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy as np
    import onnxruntime_genai as genai

    began = time.perf_counter()
    config = genai.Config(str(folder))
    options = {"session_options": {"intra_op_num_threads": threads}}
    config.overlay(json.dumps({"model": {"eos_token_id": [], "decoder": options}}))
    model = genai.Model(config)
    loaded = time.perf_counter() - began
    stamps: list[float] = []

    def generate(ids: list[int], tokens: int) -> float:
        params = genai.GeneratorParams(model)
        params.set_search_options(do_sample=False, max_length=len(ids) + tokens)
        stamps.clear()
        start = time.perf_counter()
        generator = genai.Generator(model, params)
        generator.append_tokens(np.array(ids, np.int32))
        for _ in range(tokens):
            generator.generate_next_token()
            generator.get_next_tokens()
            stamps.append(time.perf_counter())
        return start

    generate(prompt[:WARM_UP_TOKENS], WARM_UP_TOKENS)
    return _figures(loaded, prompt, generate(prompt, new), stamps)


def torch(folder: Path, prompt: list[int], new: int, threads: int) -> Run:
    """Generate with qdeploy's engine in torch."""
    began = time.perf_counter()
    bundle = open_bundle(folder)
    session = run.load(bundle, run.choose(bundle), threads=threads)
    loaded = time.perf_counter() - began

    def generate(ids: list[int], tokens: int) -> tuple[float, list[float]]:
        request = Request(prompt_ids=tuple(ids), max_new_tokens=tokens)
        start = time.perf_counter()
        return start, [token.timestamp for token in session.generate(request)]

    generate(prompt[:WARM_UP_TOKENS], WARM_UP_TOKENS)
    return _figures(loaded, prompt, *generate(prompt, new))


def transformers(folder: Path, prompt: list[int], new: int, threads: int) -> Run:
    """Generate with transformers, in the checkpoint's own type."""
    began = time.perf_counter()
    generate = PEER.load(folder, "cpu", threads)
    loaded = time.perf_counter() - began
    generate(prompt[:WARM_UP_TOKENS], WARM_UP_TOKENS)
    start, stamps = generate(prompt, new)
    return _figures(loaded, prompt, start, list(stamps))


RUNTIMES = {
    OPENVINO.files["model"]: openvino,
    ONNX.files["genai_config"]: onnxruntime,
    MANIFEST: torch,
    "config.json": transformers,
}
"""By the first of these files that a folder has."""


def _figures(loaded: float, prompt: list[int], start: float, stamps: list[float]) -> Run:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return Run(
        load=loaded,
        prefill=len(prompt) / (stamps[0] - start),
        decode=(len(stamps) - 1) / (stamps[-1] - stamps[0]),
        memory=1024 * int(peak.split()[1]),
    )


def measure(folder: Path, prompt: int, new: int, threads: int) -> Run:
    """Run one process, and read the last line of its output: runtimes may print lines before."""
    numbers = {"--prompt": prompt, "--new": new, "--threads": threads}
    command = [sys.executable, __file__, "--run", str(folder)]
    for option, value in numbers.items():
        command += [option, str(value)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def report(runs: dict[str, list[Run]]) -> str:
    """Medians of every contender, and the first one's figures over each other's, round by round."""
    first = next(iter(runs.values()))
    head = f"{'':28}{'load s':>9}{'peak MB':>9}{'prefill':>9}{'decode':>9}{'x':>7}{'x':>7}"
    lines = [head]
    for name, each in runs.items():
        pairs = list(zip(first, each, strict=True))
        cells = [
            f"{statistics.median(r.load for r in each):9.2f}",
            f"{statistics.median(r.memory for r in each) / 1e6:9.0f}",
            f"{statistics.median(r.prefill for r in each):9.1f}",
            f"{statistics.median(r.decode for r in each):9.1f}",
            f"{statistics.median(a.prefill / b.prefill for a, b in pairs):7.2f}",
            f"{statistics.median(a.decode / b.decode for a, b in pairs):7.2f}",
        ]
        lines.append(f"{name[-28:]:28}" + "".join(cells))
    return "\n".join([*lines, "tokens a second; x: the first one's over this one's"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=480, help="tokens")
    parser.add_argument("--new", type=int, default=64, help="tokens")
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        use = next(each for file, each in RUNTIMES.items() if (asked.run / file).is_file())
        ids = [100 + (i * 37) % 1500 for i in range(asked.prompt)]
        print(json.dumps(asdict(use(asked.run, ids, asked.new, asked.threads))))
        return
    runs: dict[str, list[Run]] = {str(folder): [] for folder in asked.folders}
    for _ in range(asked.rounds):
        for folder in asked.folders:
            done = measure(folder, asked.prompt, asked.new, asked.threads)
            runs[str(folder)].append(done)
    print(report(runs))
    print(f"{info.cpu_name()}, {asked.threads} threads")


if __name__ == "__main__":
    main()
