"""A session with the float reference's logits plus noise, and the reference's peak memory.

    python -m tests.support.evaluating CHECKPOINT TOKENS

prints the peak anonymous memory, in bytes, of computing the logits of so many tokens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.forward.forward import Forward
from qdeploy.interface import Limits, Placement, Request, Session, Token
from qdeploy.targets import Evidence
from tests.support.exporting import Peak


def no_progress(*_: object) -> None:
    """Ignore progress."""


def logits_of(folder: Path, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the reference's logits of one sequence, [T, V]."""
    found = read_checkpoint(folder)
    with open_weights(found) as source:
        forward = Forward(
            source, found.architecture, found.decoder.graph(found.config.rope_scaling)
        )
        return forward.logits(forward.hidden([ids], no_progress)[0])


class Noisy(Session):
    """The float reference as a session, with noise of a given size on every logit."""

    def __init__(self, folder: Path, noise: float = 0.0, *, context: int = 2048) -> None:
        super().__init__(Limits(context, read_checkpoint(folder).config.vocab_size), device="numpy")
        self._folder, self._noise = folder, noise
        self._random = np.random.default_rng(0)

    def _score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        logits = logits_of(self._folder, token_ids)
        noise = self._random.standard_normal(logits.shape, np.float32)
        return np.asarray(logits + np.float32(self._noise) * noise, np.float32)

    def _generate(self, request: Request) -> Generator[Token, None, None]:
        ids = list(request.prompt_ids)
        for _ in range(min(request.max_new_tokens, 4)):
            ids.append(int(self._score(ids)[-1].argmax()))
            yield Token(ids[-1], time.perf_counter())

    def placement(self) -> Placement:
        return Placement(("numpy",), Evidence.DEVICE, "it is NumPy")

    def _close(self) -> None: ...


if __name__ == "__main__":
    tokens = np.random.default_rng(0).integers(0, 2000, int(sys.argv[2])).tolist()
    watch = Peak()
    logits_of(Path(sys.argv[1]), tokens)
    print(watch.stop())
