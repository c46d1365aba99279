"""Tokens drawn from logits block by block."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import Any

import numpy as np

from qdeploy.calibration.texts.sampling import sample
from qdeploy.checkpoint.weights import WeightReader

SHARES = (0.5, 0.3, 0.15, 0.05)


class Head(WeightReader):
    """A head of one column, read *step* rows at a time."""

    def __init__(self, values: list[float], step: int) -> None:
        super().__init__((), {})
        self._values, self._step = np.array(values, np.float32)[:, None], step

    def blocks(self, name: str, **_: Any) -> Iterator[tuple[int, Any]]:
        for start in range(0, len(self._values), self._step):
            yield start, self._values[start : start + self._step]


def draw(values: list[float], count: int, step: int) -> list[int]:
    """Draw *count* tokens, each of a generator of its own."""
    generators = [np.random.Generator(np.random.PCG64([7, row])) for row in range(count)]
    return sample(Head(values, step), "head", np.ones((count, 1), np.float32), generators)


def test_tokens_have_the_probabilities_of_the_softmax() -> None:
    drawn = draw([log(share) + 5 for share in SHARES], 20_000, 3)
    found = np.bincount(drawn, minlength=len(SHARES)) / len(drawn)
    assert np.abs(found - SHARES).max() < 0.02


def test_blocks_do_not_change_what_is_drawn() -> None:
    values = np.random.default_rng(0).standard_normal(100).tolist()
    whole = draw(values, 50, 100)
    assert len(set(whole)) > 10
    assert draw(values, 50, 7) == whole


def test_a_sequence_does_not_depend_on_others() -> None:
    values = np.random.default_rng(0).standard_normal(100).tolist()
    assert draw(values, 50, 30)[:9] == draw(values, 9, 30)
