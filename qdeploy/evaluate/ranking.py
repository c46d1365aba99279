"""How far vectors and scores of two models are apart, and the orders that they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Of the orders in which two models put the same documents, for several queries.

    Attributes:
        correlation: Spearman's, the mean over the queries.
        top1: fraction of queries with the same first document.
    """

    correlation: float
    top1: float


def cosines(one: Floats, other: Floats) -> Floats:
    """Cosine of each row of *one* to that of *other*, [N]."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / lengths, np.float32)


def similarities(queries: Floats, documents: Floats) -> Floats:
    """Cosine of each query to each document, [Q, D]."""
    scaled = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, documents)]
    return np.asarray(scaled[0] @ scaled[1].T, np.float32)


def agreement(one: Floats, other: Floats) -> Agreement:
    """Compare the orders by two arrays of scores, [Q, D]: higher ones come first."""
    ranks = [np.argsort(np.argsort(-scores, axis=1), axis=1) for scores in (one, other)]
    centered = [r - r.mean(axis=1, keepdims=True) for r in ranks]
    spread = np.prod([np.linalg.norm(c, axis=1) for c in centered], axis=0)
    correlations = (centered[0] * centered[1]).sum(axis=1) / spread
    same = one.argmax(axis=1) == other.argmax(axis=1)
    return Agreement(float(correlations.mean()), float(same.mean()))


def without_self(scores: Floats, selves: tuple[int, ...]) -> Floats:
    """Leave out the score of each query's own document, of [Q, D]: gives [Q, D - 1]."""
    rows = [np.delete(row, own) for row, own in zip(scores, selves, strict=True)]
    return np.stack(rows)
