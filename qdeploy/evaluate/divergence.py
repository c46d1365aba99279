"""Compare two models' predictions of one text, position by position, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qdeploy.evaluate.interval import mean_interval, split_blocks
from qdeploy.evaluate.logits import Logits, log_softmax
from qdeploy.results import KlBlock

Doubles = NDArray[np.float64]

ROWS = 16
"""Positions compared at a time: with 151,936 tokens, each of a few arrays takes 19 MB."""
MOST_NATS = 700.0
"""Limit of the mean loss in a perplexity, so that a broken model's perplexity stays finite."""


@dataclass(frozen=True)
class Figures:
    """Figures of a comparison of two models, the reference P and the evaluated model Q.

    Attributes:
        kl_mean, kl_p99, kl_max: KL divergence of Q from P, sum of p * (log p - log q), in nats:
            mean, 99th percentile and maximum over the positions.
        top1_agreement: fraction of positions where both have the same most likely token.
        perplexity, reference_perplexity: exp of the mean negative log-probability of the text.
        kl_interval: 95% interval of the mean; None if there is too little text.
        kl_blocks: what the interval resamples: a sum of KL and a count of positions each.
    """

    kl_mean: float
    kl_p99: float
    kl_max: float
    top1_agreement: float
    perplexity: float
    reference_perplexity: float
    kl_interval: tuple[float, float] | None = None
    kl_blocks: tuple[KlBlock, ...] = ()

    @property
    def perplexity_ratio(self) -> float:
        return self.perplexity / self.reference_perplexity


@dataclass
class Tally:
    """Accumulates passages, from which `figures` computes the result."""

    _kl: list[Doubles] = field(default_factory=list)  # a passage each
    _agree: list[NDArray[np.bool_]] = field(default_factory=list)
    _loss: list[Doubles] = field(default_factory=list)  # -log q of the text's own tokens
    _reference_loss: list[Doubles] = field(default_factory=list)  # -log p of the same

    def add(self, reference: Logits, judged: Logits, following: NDArray[np.int64]) -> None:
        """Add a passage: logits [T, V] of both models, and the next token of each position, [T].

        Raises:
            ValueError: the shapes do not match.
        """
        if reference.shape != judged.shape or len(reference) != len(following):
            raise ValueError(f"logits {reference.shape} and {judged.shape}, {len(following)} ids")
        spans = [slice(start, start + ROWS) for start in range(0, len(following), ROWS)]
        if spans:
            parts = [self._add(reference[s], judged[s], following[s]) for s in spans]
            self._kl.append(np.concatenate(parts))

    def _add(self, reference: Logits, judged: Logits, following: NDArray[np.int64]) -> Doubles:
        """Add some of a passage's positions, and return the KL divergence of each."""
        p, q = log_softmax(reference), log_softmax(judged)
        own = np.arange(len(following)), following
        self._agree.append(reference.argmax(-1) == judged.argmax(-1))
        self._loss.append(-q[own])
        self._reference_loss.append(-p[own])
        # rounding can make a divergence of zero slightly negative
        kl: Doubles = np.maximum(np.einsum("tv,tv->t", np.exp(p), p - q), 0)
        return kl

    def figures(self) -> Figures:
        """Compute the figures over all positions; at least one must have been added."""
        kl, blocks = np.concatenate(self._kl), split_blocks(self._kl)
        return Figures(
            kl_mean=float(kl.mean()),
            kl_p99=float(np.quantile(kl, 0.99)),
            kl_max=float(kl.max()),
            top1_agreement=float(np.concatenate(self._agree).mean()),
            perplexity=_perplexity(self._loss),
            reference_perplexity=_perplexity(self._reference_loss),
            kl_interval=mean_interval(blocks),
            kl_blocks=blocks,
        )


def _perplexity(loss: list[Doubles]) -> float:
    return float(np.exp(min(np.concatenate(loss).mean(), MOST_NATS)))
