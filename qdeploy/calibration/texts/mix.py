"""The sequences that a model is calibrated on: of several origins, in fixed shares."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.calibration.texts.general_texts import FILE, general_texts
from qdeploy.calibration.texts.held_weights import parameters
from qdeploy.calibration.texts.own_text import Progress, own_text
from qdeploy.calibration.texts.sequences import LENGTH, Origin, Sequences
from qdeploy.calibration.texts.user_texts import user_texts
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.storage.atomic import write_file
from qdeploy.storage.hashing import data_sha256, file_sha256
from qdeploy.tokenization.tokenizer import Tokenizer

TOKENS = 16_384
"""Tokens of all sequences, and so inputs of each layer: four a dimension where it has 4,096."""
GENERAL_BESIDE_OWN, GENERAL_BESIDE_USER = 2, 4
"""One token in so many is of the general texts. Weights that are rounded for texts of one domain
alone become worse for all others, so there are some beside a user's; half, beside a model's own,
were better than a quarter on both embedded models (docs/quality.md)."""
OWN = "own"
LARGE = 2_000_000_000
"""Weights of a model from which on its own text comes in shorter sequences."""
SHORT_LENGTH = LENGTH // 4
FILE_NAME = "sequences.json"


@dataclass(frozen=True)
class Mix:
    """Sequences to calibrate on.

    Attributes:
        warnings: about the user's texts, each one sentence.
    """

    sequences: Sequences
    warnings: tuple[str, ...] = ()


def own_shape(weights: int, tokens: int) -> tuple[int, int]:
    """Number and length of the sequences that a model of so many *weights* writes itself.

    Every position costs a pass over all weights, which are read from the disk where memory does not
    hold them. For a large model a quarter of the passes therefore gives as many tokens, in four
    times as many sequences.
    """
    length = LENGTH if weights < LARGE else SHORT_LENGTH
    return max(1, tokens // length), length


def default_sequences(
    source: WeightReader,
    architecture: Architecture,
    config: GraphConfig,
    tokenizer: Tokenizer,
    *,
    folder: Path,
    progress: Progress,
    tokens: int = TOKENS,
    seed: int = 0,
    user: Path | None = None,
) -> Mix:
    """Make the sequences: the model's own text or the user's, and general texts beside it.

    A user's file with less text than its share leaves the sum smaller, and the general texts as
    many as they are. A model that does not generate, without a user's file, has general texts only.

    The result is kept in `FILE_NAME`, and the same work later reads it there.

    Args:
        source: the weights.
        architecture: of the model.
        config: its numbers.
        tokenizer: its tokenizer.
        folder: for the result and for unfinished work, of this checkpoint alone; it exists.
        progress: told of the model's own text; see `own_text`.
        tokens: of all sequences.
        seed: at least 0.
        user: the user's file, in place of the model's own text.

    Raises:
        InputError: the user's file cannot be used.
        CheckpointError: a weight is infinite or not a number, or a tokenizer's file is malformed.
        OSError: the folder cannot be written.
    """
    general = tokens // (GENERAL_BESIDE_USER if user else GENERAL_BESIDE_OWN)
    main = tokens - general
    given = user_texts(user, tokenizer, tokens=main, seed=seed) if user else None
    mine = given.sequences.origins[0].sha256 if given else OWN
    key = data_sha256(tokens, seed, mine, file_sha256(FILE), config.task.generates, main)
    warnings = given.warnings if given else ()
    if known := _load(folder / FILE_NAME, key):
        return Mix(known, warnings)
    if given:
        parts = [given.sequences]
    elif config.task.generates:
        count, length = own_shape(parameters(architecture, config), main)
        ids = own_text(
            source, architecture, config, tokenizer, sequences=count, length=length, seed=seed,
            folder=folder, progress=progress,
        )  # fmt: skip
        parts = [Sequences.of(OWN, data_sha256(ids), ids)]
    else:
        parts, general = [], tokens
    found = Sequences.joined([*parts, general_texts(tokenizer, tokens=general, seed=seed)])
    write_file(folder / FILE_NAME, json.dumps({"key": key, **asdict(found)}).encode())
    return Mix(found, warnings)


def _load(file: Path, key: str) -> Sequences | None:
    """The sequences that an earlier run of the same work made, or None."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("key") != key:
        return None
    ids = tuple(tuple(one) for one in found["ids"])
    return Sequences(ids, tuple(Origin(**origin) for origin in found["origins"]))
