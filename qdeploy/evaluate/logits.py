"""Logits, and the logarithms of the probabilities that they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdeploy.errors import GenerationFailed

Logits = NDArray[np.float32]
"""[T, V]: a row for each position, a column for each token of the vocabulary."""


def check_logits(logits: Logits, expected: Logits, *, where: object) -> None:
    """Check that a runtime's logits can be compared with the *expected* ones of *where*.

    Raises:
        GenerationFailed: they have another shape, or are not all finite.
    """
    if logits.shape != expected.shape or not np.isfinite(logits).all():
        raise GenerationFailed(
            f"the runtime's logits have the shape {logits.shape} or are not all finite; "
            f"expected are finite ones of {expected.shape}",
            where=where,
        )


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities, float64 [T, V]."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    x -= np.log(np.exp(x).sum(-1, keepdims=True))
    return x
