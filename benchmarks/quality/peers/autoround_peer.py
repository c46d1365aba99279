"""Quantizes the linear layers of a model's decoder layers with AutoRound, on the CPU.

Runs in an environment of its own and imports nothing of qdeploy. Reads a job as JSON from standard
input (see `benchmarks.quality.peer`), writes AutoRound's packed checkpoint to the job's folder, and
prints what it did as JSON in the last line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    job = json.load(sys.stdin)
    import torch
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(job["threads"])
    folder, sequences = job["model"], job["sequences"]
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    # float32 throughout, so that nothing but the rounding to four bits tells the models apart
    settings = {
        "bits": 4, "group_size": job["group_size"], "sym": job["symmetric"],
        "iters": job["iterations"], "nsamples": len(sequences), "seqlen": len(sequences[0]),
        "batch_size": 8, "seed": job["seed"], "amp": False, "lr": job["rate"],
    }  # fmt: skip
    began = time.perf_counter()
    rounding = AutoRound(
        model,
        tokenizer,
        dataset=[torch.tensor([ids]) for ids in sequences],
        device_map="cpu",
        enable_torch_compile=False,
        **settings,
    )
    rounding.quantize_and_save(output_dir=job["output"], format="auto_round")
    seconds = time.perf_counter() - began
    # it may add a folder named after the model and the scheme
    written = next(Path(job["output"]).rglob("config.json")).parent
    packages = ("auto-round", "torch", "transformers")
    versions = {package: metadata.version(package) for package in packages}
    done = {"seconds": seconds, "settings": settings, "versions": versions}
    print(json.dumps({**done, "checkpoint": str(written)}))


if __name__ == "__main__":
    main()
