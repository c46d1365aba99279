"""An encoder: an embedding or reranking model on a device; token ids in, vectors out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.errors import GenerationFailed, PromptError
from qdeploy.interface.loaded import Loaded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Encoder(Loaded):
    """A bundle that makes one vector of each sequence.

    `encode` checks and pads what it is given and calls `_encode` of the backend. Every backend
    therefore refuses the same requests with the same messages, and none sees padding but at the
    end of a sequence.

    Args:
        context: most tokens of a sequence.
        vocab_size: token ids are below this.
        width: elements of a vector: the hidden size, or the logits of a score.
        device: named in errors.
    """

    def __init__(self, context: int, vocab_size: int, width: int, *, device: str) -> None:
        super().__init__(context, vocab_size, device=device)
        self.width = width

    def encode(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return a vector for each sequence of token ids, float32 [B, width], in one pass.

        What else is in the batch does not change a vector, but for the runtime's rounding.

        Raises:
            PromptError: an empty sequence, ids outside the vocabulary, or one that is too long.
            GenerationFailed: the runtime broke, its vectors are not finite, or this is closed.
        """
        import numpy as np

        self._require_open()
        for ids in sequences:
            self._check_ids(ids)
            if len(ids) > self.context:
                raise PromptError(
                    f"a text has {len(ids)} tokens; the session holds {self.context}",
                    fix="shorten the text, or give a longer --context, here or to export",
                )
        if not sequences:
            return np.empty((0, self.width), np.float32)
        shape = len(sequences), max(map(len, sequences))
        padded, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, ids in enumerate(sequences):
            padded[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        made = self._encode(padded, mask)
        if made.shape != (len(sequences), self.width) or not np.isfinite(made).all():
            raise GenerationFailed(
                f"the runtime's vectors have the shape {made.shape} or are not all finite; "
                f"expected are finite ones of {(len(sequences), self.width)}",
                where=self._device_name,
            )
        return made

    @abstractmethod
    def _encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 [B, width] for *ids* [B, L]; *mask* is 1 but for padding at the end.

        Raises:
            GenerationFailed: the runtime broke.
        """
