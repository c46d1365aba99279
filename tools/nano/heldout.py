"""The held-out questions: drawn once from a fixed seed, written as JSON lines, never trained on.

python -m tools.nano.heldout          # writes qdeploy/models/heldout.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from tools.nano import MODELS
from tools.nano.sample import Sample
from tools.nano.tasks import TABLE, draw, stream

SEED = 20_250
FILE = MODELS / "heldout.jsonl"


@cache
def samples() -> tuple[Sample, ...]:
    """All held-out samples, single turn, no two with the same question."""
    rng = Random(SEED)
    chosen: dict[str, Sample] = {}
    for generator, _, wanted in TABLE:
        left = wanted
        while left:
            sample = draw(generator, rng)
            if not sample.history and sample.key not in chosen:
                chosen[sample.key] = sample
                left -= 1
    return tuple(chosen.values())


@cache
def keys() -> frozenset[str]:
    """Hashes of the held-out questions, which the training stream leaves out."""
    return frozenset(sample.key for sample in samples())


def training_samples(rng: Random, even: bool = False) -> Iterator[Sample]:
    """The task mix without the held-out questions."""
    banned = keys()
    return (sample for sample in stream(rng, even) if sample.key not in banned)


def write(file: Path = FILE) -> None:
    """Write one JSON object a line: id, task, language, question, answer."""
    lines = []
    for index, sample in enumerate(samples()):
        row = {
            "id": f"{sample.task}-{index:03d}",
            "task": sample.task,
            "language": sample.language,
            "question": sample.question,
            "answer": sample.answer,
        }
        lines.append(json.dumps(row, ensure_ascii=False))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
