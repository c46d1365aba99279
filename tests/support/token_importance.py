"""The peak memory of weighing tokens, in groups of few.

    python -m tests.support.token_importance CHECKPOINT TOKENS

prints the peak anonymous memory, in bytes, of weighing so many tokens in sequences of 64.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from qdeploy.calibration.importance import energies, labels
from qdeploy.calibration.importance.importance import token_importance
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from tests.support.evaluating import no_progress
from tests.support.exporting import Peak

SMALL = 8 * 2**20


def main(folder: Path, tokens: int) -> None:
    """Print the peak."""
    energies.GROUP_BYTES = labels.LOGIT_BYTES = SMALL
    found = read_checkpoint(folder)
    ids = np.random.default_rng(0).integers(0, 2000, (tokens // 64, 64)).tolist()
    watch = Peak()
    with open_weights(found) as source, tempfile.TemporaryDirectory() as kept:
        token_importance(
            source, found.architecture, found.decoder.graph(None), ids,
            seed=0, folder=Path(kept), progress=no_progress,
        )  # fmt: skip
        print(watch.stop())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
