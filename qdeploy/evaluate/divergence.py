"""Two models' predictions of one text, compared position by position, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qdeploy.evaluate.logits import Logits, log_softmax

Doubles = NDArray[np.float64]

ROWS = 16
"""Positions compared at a time: at 151,936 tokens, 19 MB each of a few arrays."""
MOST_NATS = 700.0
"""What a token may cost in a perplexity: that of a broken model is to stay a number."""


@dataclass(frozen=True)
class Figures:
    """What a text says of two models, P the reference and Q the one that is judged.

    Attributes:
        kl: KL divergence of Q from P, sum of p * (log p - log q), in nats; mean, 99th percentile
            and maximum over the positions.
        top1_agreement: part of the positions where both prefer the same token.
        perplexity, reference_perplexity: exp of the mean negative log-probability of the text.
    """

    kl_mean: float
    kl_p99: float
    kl_max: float
    top1_agreement: float
    perplexity: float
    reference_perplexity: float

    @property
    def perplexity_ratio(self) -> float:
        return self.perplexity / self.reference_perplexity


@dataclass
class Tally:
    """Collects positions until the figures are asked for."""

    _kl: list[Doubles] = field(default_factory=list)
    _agree: list[NDArray[np.bool_]] = field(default_factory=list)
    _lost: list[Doubles] = field(default_factory=list)  # -log q and -log p of the text's own tokens
    _reference_lost: list[Doubles] = field(default_factory=list)

    def add(self, reference: Logits, judged: Logits, following: NDArray[np.int64]) -> None:
        """Add positions: logits [T, V] of both models, and the token that follows each, [T].

        Raises:
            ValueError: the shapes do not agree.
        """
        if reference.shape != judged.shape or len(reference) != len(following):
            raise ValueError(f"logits {reference.shape} and {judged.shape}, {len(following)} ids")
        for start in range(0, len(following), ROWS):
            span = slice(start, start + ROWS)
            self._add(reference[span], judged[span], following[span])

    def _add(self, reference: Logits, judged: Logits, following: NDArray[np.int64]) -> None:
        p, q = log_softmax(reference), log_softmax(judged)
        own = np.arange(len(following)), following
        # rounding can take a divergence of nothing a little below zero
        self._kl.append(np.maximum(np.einsum("tv,tv->t", np.exp(p), p - q), 0))
        self._agree.append(reference.argmax(-1) == judged.argmax(-1))
        self._lost.append(-q[own])
        self._reference_lost.append(-p[own])

    def figures(self) -> Figures:
        """The figures over all positions; at least one was added."""
        kl = np.concatenate(self._kl)
        return Figures(
            kl_mean=float(kl.mean()),
            kl_p99=float(np.quantile(kl, 0.99)),
            kl_max=float(kl.max()),
            top1_agreement=float(np.concatenate(self._agree).mean()),
            perplexity=_perplexity(self._lost),
            reference_perplexity=_perplexity(self._reference_lost),
        )


def _perplexity(lost: list[Doubles]) -> float:
    return float(np.exp(min(np.concatenate(lost).mean(), MOST_NATS)))
