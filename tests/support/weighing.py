"""Weighs the tokens of a few sequences in a small checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdeploy.calibration.importance.importance import Importance, token_importance
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE

SMALL = DENSE | {
    "hidden_size": 32, "intermediate_size": 24, "head_dim": 16, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_hidden_layers": 2, "vocab_size": 300,
}  # fmt: skip
SEQUENCES = [[5, 9, 200, 41], [7, 7, 250], [100], [3, 1, 4, 1, 5]]
TOKENS = sum(map(len, SEQUENCES))


def weigh(
    folder: Path,
    sequences: Sequence[Sequence[int]] = SEQUENCES,
    *,
    seed: int = 0,
    kept: str = "kept",
    progress: Any = no_progress,
) -> Importance:
    found = read_checkpoint(folder)
    with open_weights(found) as source:
        return token_importance(
            source, found.architecture, found.decoder.graph(None), sequences,
            seed=seed, folder=folder / kept, progress=progress,
        )  # fmt: skip
