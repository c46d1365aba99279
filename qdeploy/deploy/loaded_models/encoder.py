"""What loaded models that embed and that rerank have in common.

The batches of a call hold texts of similar lengths, longest first, so that little is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded_models.model import Model
from qdeploy.deploy.run import Choice
from qdeploy.errors import InputError, PromptTooLong
from qdeploy.interface import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

BATCH = 8
"""Texts of a pass, by default."""


class EncoderModel(Model):
    """What embedding and reranking have in common."""

    def __init__(self, bundle: Bundle, choice: Choice, encoder: Encoder) -> None:
        super().__init__(bundle, choice, encoder)
        self._encoder = encoder

    def encode(self, sequences: Sequence[Sequence[int]], batch_size: int = BATCH) -> Vectors:
        """Return what the model makes of each sequence of token ids, float32 [N, width].

        Raises:
            PromptError: a sequence is empty or too long, or has ids outside the vocabulary.
            InputError: *batch_size* is not 1 or more.
            GenerationFailed: the runtime broke, or the model is closed.
        """
        import numpy as np

        if batch_size < 1:
            raise InputError(f"a batch of {batch_size}", fix="give 1 or more")
        made = np.empty((len(sequences), self._encoder.width), np.float32)
        by_length = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        for start in range(0, len(by_length), batch_size):
            batch = by_length[start : start + batch_size]
            made[batch] = self._encoder.encode([sequences[i] for i in batch])
        return made

    def _room(self, tokens: int, taken: int, *, truncate: bool) -> int:
        """How many of a text's *tokens* fit beside *taken* others.

        Raises:
            PromptTooLong: not all, and it may not be cut.
        """
        room = self.context - taken
        if tokens <= room or (truncate and room > 0):
            return min(tokens, room)
        raise PromptTooLong(
            f"a text has {tokens + taken} tokens, {taken} of them around it; the model takes "
            f"{self.context}",
            fix="shorten it, allow truncation (--truncate), or give a longer --context, here or to "
            "export",
        )
