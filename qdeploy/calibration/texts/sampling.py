"""Tokens drawn at temperature 1 from logits that never exist as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import Floats


def sample(
    source: WeightReader,
    head: str,
    hidden: Floats,
    generators: Sequence[np.random.Generator],
) -> list[int]:
    """Draw a token of each row of hidden states [B, H], by a generator each.

    The token with the largest sum of its logit and noise of the standard Gumbel distribution has
    the distribution of the softmax (Gumbel-max, arXiv:1411.0030). A block of the head's rows is
    read at a time, and the noise of a token does not depend on how they are split.
    """
    best = np.full(len(hidden), -np.inf)
    tokens = np.zeros(len(hidden), np.int64)
    for start, rows in source.blocks(head):
        scores = (hidden @ rows.T).astype(np.float64)
        for score, generator in zip(scores, generators, strict=True):
            score -= np.log(generator.standard_exponential(len(rows)))
        place = np.argmax(scores, axis=1)
        top = scores[np.arange(len(scores)), place]
        better = top > best
        best[better], tokens[better] = top[better], start + place[better]
    return [int(token) for token in tokens]
