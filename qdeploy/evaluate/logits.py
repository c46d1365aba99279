"""Logits, and the logarithms of the probabilities that they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
"""[T, V]: a row for each position, a column for each token of the vocabulary."""


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities, float64 [T, V]."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    x -= np.log(np.exp(x).sum(-1, keepdims=True))
    return x
