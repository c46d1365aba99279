"""An encoder without a model: its vectors are simple functions of the token ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.interface import Encoder, Placement
from qdeploy.targets import Evidence

WIDTH = 4


class ScriptedEncoder(Encoder):
    """Gives sum, last and number of the ids that are no padding, and one.

    Attributes:
        passes: ids and mask of every pass.
        added: added to every vector.
    """

    def __init__(self, *, context: int = 100, vocab_size: int = 2**31) -> None:
        super().__init__(context, vocab_size, WIDTH, device="SCRIPT")
        self.passes: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self.added = 0.0

    def placement(self) -> Placement:
        return Placement(("SCRIPT",), Evidence.DEVICE, "it is a script")

    def _encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.passes.append((ids, mask))
        counts = mask.sum(axis=1)
        last = ids[np.arange(len(ids)), counts - 1]
        columns = [(ids * mask).sum(axis=1), last, counts, np.ones(len(ids))]
        return np.stack(columns, axis=1).astype(np.float32) + np.float32(self.added)

    def _close(self) -> None:
        self.passes = []
