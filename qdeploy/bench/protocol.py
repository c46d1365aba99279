"""The written protocol: what is done, as data with a hash. Only results of equal hashes compare.

Whoever changes what the worker or the parent does raises `VERSION`, so that old results stop
comparing with new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qdeploy.bench import grid
from qdeploy.bench.grid import Point, points
from qdeploy.bundle import Bundle

VERSION = 1
SEED = 0
RULES = {
    "prompts": "token ids from sha256 over seed, length, run and index, modulo the vocabulary; "
    "a prompt of its own for every run",
    "sampling": "greedy",
    "stop_tokens": "ignored",
    "cold_load": "a process that only loads, after compiled kernels and the cached pages of the "
    "bundle's files were dropped",
    "warm_load": "the process that measures, right after the cold one",
    "warm_up": "one generation at every point, not counted",
    "order": "rounds; in each, every bundle in turn: cold load, measuring process, peer's process; "
    "in a process, points by ascending length",
    "clock": "perf_counter, when the runtime hands a token over",
    "parent": "asleep while a child measures",
}


@dataclass(frozen=True)
class Protocol:
    """One benchmark's protocol.

    Attributes:
        prompt_tokens, new_tokens: the grid: every pair of the two is a point.
        runs: measured generations at every point, in every process.
        processes: number of rounds, and of measuring processes.
    """

    prompt_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    runs: int
    processes: int

    @property
    def points(self) -> tuple[Point, ...]:
        return points(self.prompt_tokens, self.new_tokens)

    def as_dict(self) -> dict[str, Any]:
        """As plain data: the rules, their version, the seed and the numbers."""
        return {"version": VERSION, "seed": SEED, **RULES, **json.loads(json.dumps(asdict(self)))}

    @property
    def hash(self) -> str:
        """sha256 (hex) over `as_dict` in canonical JSON: keys sorted, no spaces, ASCII."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def make_protocol(
    bundles: Sequence[Bundle], prompts: str | None, new: str | None, runs: int, processes: int
) -> Protocol:
    """The protocol for *bundles*; lengths are lists such as `128,512`, or None for those that fit.

    Raises:
        InputError: a list that is none, or a grid that is empty.
    """
    answers = grid.NEW if new is None else grid.parse(new, "--new", least=grid.FEWEST_NEW)
    if prompts is not None:
        lengths = grid.parse(prompts, "--prompt")
    else:
        context = min(bundle.manifest.model.context_length for bundle in bundles)
        lengths = grid.fitting(grid.PROMPTS, answers, context)
    return Protocol(lengths, answers, runs, processes)


def prompt(length: int, vocab_size: int, run: int) -> tuple[int, ...]:
    """The token ids of one run's prompt: *length* of them, each below *vocab_size*.

    They depend on nothing else, so every bundle of one vocabulary gets the same. No two runs or
    lengths share a beginning, so that a cache of prompts is of no use. A warm-up is run -1.
    """
    return tuple(
        int.from_bytes(hashlib.sha256(f"{SEED}:{length}:{run}:{i}".encode()).digest()[:8], "big")
        % vocab_size
        for i in range(length)
    )
