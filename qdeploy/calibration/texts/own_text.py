"""Text that the float model writes itself: the nearest to what it was trained on, with no download.

All sequences grow together, a position at a time, so that each weight is read once a position for
all of them. Work that was ended goes on where it was: the tokens are saved every few positions, and
the keys and values are in a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.calibration.texts.cache import Cache, CacheShape
from qdeploy.calibration.texts.held_weights import held_if_small
from qdeploy.calibration.texts.one_position import one_position
from qdeploy.calibration.texts.sampling import sample
from qdeploy.calibration.texts.turns import Script, Turns, find_turns
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.storage.atomic import write_file
from qdeploy.storage.hashing import data_sha256
from qdeploy.tokenization.tokenizer import Tokenizer

STATE, CACHE = "own-text.json", "own-text.cache"
EVERY = 16
"""Positions after which the tokens are saved: work of seconds to minutes is lost at most."""

Progress = Callable[[int, int], None]
"""Called with the number of tokens that every sequence has, and shall have."""


def own_text(
    source: WeightReader,
    architecture: Architecture,
    config: GraphConfig,
    tokenizer: Tokenizer,
    *,
    sequences: int,
    length: int,
    seed: int,
    folder: Path,
    progress: Progress,
) -> list[tuple[int, ...]]:
    """Sample *sequences* of *length* tokens from the model, at temperature 1.

    Each begins as the chat template begins a user's turn, or as a plain text where there is no
    template: see `turns`. The same seed gives the same text on the same machine; rounding of
    another one may lead to another token.

    Args:
        source: the weights.
        architecture: of a model that generates.
        config: its numbers.
        tokenizer: its tokenizer.
        sequences: at least 1.
        length: at least 1.
        seed: at least 0.
        folder: for the state and the cache, of this checkpoint alone; it exists.
        progress: told after each position.

    Raises:
        CheckpointError: a weight is infinite or not a number, or a tokenizer's file is malformed.
        OSError: the folder cannot be written.
    """
    turns = find_turns(tokenizer)
    shape = CacheShape.of(config, sequences, length)
    key = data_sha256(seed, shape.axes, shape.is_exact, _plain(turns), config.vocab_size)
    state, file = folder / STATE, folder / CACHE
    ids = _load(state, key)
    if ids is None or (len(ids[0]) < length and not shape.fits(file)):
        ids = [[turns.opening[0]] for _ in range(sequences)]
    if len(ids[0]) < length:
        scripts = [Script(turns, one) for one in ids]
        held = held_if_small(source, architecture, config)
        head, cache = architecture.head(config), Cache(file, shape)
        for position in range(len(ids[0]) - 1, length - 1):
            last = [one[-1] for one in ids]
            hidden = one_position(held, architecture, config, last, cache, position)
            due = [script.due for script in scripts]
            drawn = [row for row, token in enumerate(due) if token is None]
            noise = [_generator(seed, row, position) for row in drawn]
            tokens = iter(sample(held, head, hidden[drawn], noise) if drawn else ())
            for one, script, token in zip(ids, scripts, due, strict=True):
                one.append(next(tokens) if token is None else token)
                script.add(one[-1])
            if len(ids[0]) % EVERY == 0 or len(ids[0]) == length:
                cache.flush()
                _save(state, key, ids)
            progress(len(ids[0]), length)
        del cache  # a mapped file cannot be deleted everywhere
    file.unlink(missing_ok=True)
    return [tuple(one) for one in ids]


def _generator(seed: int, sequence: int, position: int) -> np.random.Generator:
    """Noise of one token: a sequence does not depend on how many others there are."""
    return np.random.Generator(np.random.PCG64([seed, sequence, position]))


def _plain(turns: Turns) -> dict[str, list[int]]:
    return {
        name: sorted(ids) if name == "ends" else list(ids) for name, ids in asdict(turns).items()
    }


def _save(state: Path, key: str, ids: list[list[int]]) -> None:
    write_file(state, json.dumps({"key": key, "ids": ids}).encode())


def _load(state: Path, key: str) -> list[list[int]] | None:
    """The tokens that an earlier run of the same work saved, or None."""
    try:
        found = json.loads(state.read_bytes())
    except (OSError, ValueError):
        return None
    return found["ids"] if isinstance(found, dict) and found.get("key") == key else None
