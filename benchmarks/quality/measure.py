"""Divergence of quantized weights from float ones, passage by passage, with one forward for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.weights import Model
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.evaluate.divergence import Tally
from qdeploy.evaluate.text import TASKS, Passage, read_passages
from qdeploy.forward.forward import Forward
from qdeploy.tokenization.tokenizer import Tokenizer

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

RESAMPLES = 10_000
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Scores:
    """Of one text, by passage.

    Attributes:
        positions: how many predictions were compared.
        kl: mean KL divergence from the float model over them, nats a token.
        top1: fraction of them with the same most likely token.
    """

    positions: tuple[int, ...]
    kl: tuple[float, ...]
    top1: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean KL over all positions of all passages."""
        return float(np.average(self.kl, weights=self.positions))

    @property
    def agreement(self) -> float:
        return float(np.average(self.top1, weights=self.positions))


class Judge:
    """The float model's predictions of the held-out texts.

    Raises:
        CheckpointError: the model's tokenizer or weights cannot be read.
    """

    def __init__(self, model: Model, texts: Sequence[str], windows: int) -> None:
        tokenizer = Tokenizer(model.checkpoint.folder)
        counts = {name: None if name == TASKS else windows for name in texts}
        read = [read_passages(name, tokenizer, windows=count) for name, count in counts.items()]
        self._texts = {text.name: text.passages for text in read}
        self._model = model
        self._forward = self._forward_of(model.weights)
        self._expected = self._hidden(self._forward)

    def scores(self, weights: WeightReader) -> dict[str, Scores]:
        """The divergence of each text's passages, by the text's name."""
        forward = self._forward_of(weights)
        states = iter(zip(self._expected, self._hidden(forward), strict=True))
        found = {}
        for name, passages in self._texts.items():
            each = [self._compare(passage, forward, *next(states)) for passage in passages]
            positions = tuple(passage.scored for passage in passages)
            kl, top1 = zip(*each, strict=True)
            found[name] = Scores(positions, kl, top1)
        return found

    def _forward_of(self, weights: WeightReader) -> Forward:
        checkpoint = self._model.checkpoint
        return Forward(weights, checkpoint.architecture, checkpoint.graph(None))

    def _hidden(self, forward: Forward) -> list[Floats]:
        """States of the scored positions of every passage, [positions, H]."""
        passages = [p for text in self._texts.values() for p in text]
        states = forward.hidden([p.ids for p in passages], lambda done, total: None)
        return [h[p.first - 1 : -1] for p, h in zip(passages, states, strict=True)]

    def _compare(
        self, passage: Passage, forward: Forward, expected: Floats, judged: Floats
    ) -> tuple[float, float]:
        tally = Tally()
        following = np.array(passage.ids[passage.first :], np.int64)
        tally.add(self._forward.logits(expected), forward.logits(judged), following)
        figures = tally.figures()
        return figures.kl_mean, figures.top1_agreement


def interval(values: Sequence[float], positions: Sequence[int]) -> tuple[float, float]:
    """95% interval of a mean over positions, by resampling passages (percentile bootstrap)."""
    draws = _draws(len(values))
    weighted, weights = np.array(values) * positions, np.array(positions)
    means = weighted[draws].sum(axis=1) / weights[draws].sum(axis=1)
    low, high = np.quantile(means, INTERVAL)
    return float(low), float(high)


def difference(ours: Scores, theirs: Scores) -> tuple[float, float, float]:
    """Mean KL of *ours* less that of *theirs*, and its interval, over the same passages."""
    apart = np.subtract(ours.kl, theirs.kl)
    return (ours.mean - theirs.mean, *interval(apart.tolist(), ours.positions))


def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
