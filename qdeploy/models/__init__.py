"""The embedded models: tiny, trained checkpoints in the package, which need no download."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

EMBEDDED: tuple[str, ...] = ("qwen3-nano", "qwen3-nano-moe")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A question that neither model was trained on; the correct reply is exactly `answer`."""

    id: str
    task: str
    language: str  # "en" or "zh"
    question: str
    answer: str


def path(name: str) -> Path:
    """Return the checkpoint folder of an embedded model; KeyError for any other name."""
    if name not in EMBEDDED:
        raise KeyError(f"no embedded model {name!r}; there are {', '.join(EMBEDDED)}")
    return Path(str(files(__name__))) / name


def heldout() -> list[HeldOut]:
    """Return the held-out questions in file order."""
    text = (files(__name__) / "heldout.jsonl").read_text(encoding="utf-8")
    return [HeldOut(**json.loads(line)) for line in text.splitlines()]
