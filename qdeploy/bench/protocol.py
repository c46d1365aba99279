"""The protocol of a benchmark, as data with a hash. Only results with equal hashes are compared.

A change of what the parent or the worker does needs a new `VERSION`, so that old results are not
compared with new ones. The wording of `RULES` is part of the hash, too.
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

VERSION = 2
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
    "peer": "the same bundle, device, token ids and number of CPU threads as the measuring process",
    "clock": "perf_counter, when the runtime hands a token over",
    "parent": "asleep while a worker measures",
}


@dataclass(frozen=True)
class Protocol:
    """The protocol of one benchmark.

    Attributes:
        prompt_tokens, new_tokens: the grid; every combination is a point.
        runs: measured generations per point and process.
        processes: rounds; each starts one measuring process per bundle.
    """

    prompt_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    runs: int
    processes: int

    @property
    def points(self) -> tuple[Point, ...]:
        return points(self.prompt_tokens, self.new_tokens)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: version, seed, rules and numbers."""
        return {"version": VERSION, "seed": SEED, **RULES, **json.loads(json.dumps(asdict(self)))}

    @property
    def hash(self) -> str:
        """sha256 (hex) of `as_dict` in canonical JSON: keys sorted, no spaces, ASCII."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def make_protocol(
    bundles: Sequence[Bundle], prompts: str | None, new: str | None, runs: int, processes: int
) -> Protocol:
    """Build the protocol for *bundles*.

    The lengths are lists such as `128,512`; None selects the defaults that fit every bundle.

    Raises:
        InputError: a list is empty, or a part is not a number of tokens.
    """
    answers = grid.NEW if new is None else grid.parse(new, "--new", least=grid.FEWEST_NEW)
    if prompts is not None:
        lengths = grid.parse(prompts, "--prompt")
    else:
        context = min(bundle.manifest.model.context_length for bundle in bundles)
        lengths = grid.fitting(grid.PROMPTS, answers, context)
    return Protocol(lengths, answers, runs, processes)


def prompt(length: int, vocab_size: int, run: int) -> tuple[int, ...]:
    """Return *length* token ids below *vocab_size*, the prompt of one run. A warm-up is run -1.

    They depend on the arguments only, so all bundles of one vocabulary get the same prompts. No two
    runs or lengths share a prefix, so a prefix cache does not help.
    """
    return tuple(
        int.from_bytes(hashlib.sha256(f"{SEED}:{length}:{run}:{i}".encode()).digest()[:8], "big")
        % vocab_size
        for i in range(length)
    )
