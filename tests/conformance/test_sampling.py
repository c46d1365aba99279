"""Penalties and min-p mean the same on every backend: the definitions, written out here again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.interface import Sampling
from tests.conformance.conftest import Loaded

PROMPT = "The sky is"
"""No chat, so that the models are unsure how it goes on, and repeat themselves."""
TOKENS, FEW = 16, 4
ROUNDING = 0.5
"""Most that a logit of teacher forcing may differ from the same one in decoding."""
OTHER_EXPERTS = 2
"""Tokens for which a quantized router may choose other experts than in teacher forcing."""


def made(loaded: Loaded, count: int, sampling: Sampling) -> list[int]:
    return [token.id for token in loaded.continue_(PROMPT, count, sampling=sampling)]


def scored(loaded: Loaded, answer: list[int]) -> NDArray[np.float32]:
    """Return the logits [T, V] that each token of the answer was drawn from."""
    prompt = loaded.tokenizer.encode(PROMPT)
    return loaded.session.score([*prompt, *answer])[len(prompt) - 1 : -1].copy()


def are_normalized(logits: NDArray[np.float32]) -> bool:
    """Whether they are log-probabilities: the logits of an engine, up to a constant of each row."""
    return bool(np.allclose(np.log(np.exp(logits.astype(np.float64)).sum(-1)), 0, atol=1e-3))


def penalized(loaded: Loaded, answer: list[int], how: Sampling) -> NDArray[np.float32]:
    prompt = loaded.tokenizer.encode(PROMPT)
    logits = scored(loaded, answer)
    for step, row in enumerate(logits):
        before = answer[:step]
        for token in {*prompt, *before}:
            factor = how.repetition_penalty
            row[token] = row[token] * factor if row[token] < 0 else row[token] / factor
        for token in set(before):
            row[token] -= how.presence_penalty
    return logits


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(repetition_penalty=1.5),
        Sampling(presence_penalty=2.0),
        Sampling(repetition_penalty=1.2, presence_penalty=1.5),
        Sampling(presence_penalty=-2.0),
    ],
    ids=["repetition", "presence", "both", "wanted"],
)
def test_greedy_tokens_are_the_best_after_the_penalties(loaded: Loaded, sampling: Sampling) -> None:
    answer = made(loaded, TOKENS, sampling)
    if sampling.repetition_penalty != 1 and are_normalized(scored(loaded, answer)):
        pytest.skip("the runtime tells logits up to a constant, on which this penalty depends")
    logits = penalized(loaded, answer, sampling)
    others = np.sum(logits.max(-1) - logits[np.arange(TOKENS), answer] >= ROUNDING)
    assert others <= (OTHER_EXPERTS if loaded.bundle.manifest.model.experts else 0)


@pytest.mark.essential
def test_a_penalty_changes_the_answer(loaded: Loaded) -> None:
    free = made(loaded, FEW, Sampling())
    assert made(loaded, FEW, Sampling(repetition_penalty=2.0)) != free


def test_a_penalty_ends_with_its_request(loaded: Loaded) -> None:
    free = made(loaded, TOKENS, Sampling())
    made(loaded, TOKENS, Sampling(repetition_penalty=1.5, presence_penalty=2.0))
    assert made(loaded, TOKENS, Sampling()) == free


def test_min_p_is_relative_to_the_most_probable_token(loaded: Loaded) -> None:
    temperature, least = loaded.at_most(3.0), 0.4
    below = temperature * np.log(least) - ROUNDING
    firsts = set()
    for seed in range(8):
        answer = made(loaded, 4, Sampling(temperature, seed=seed, min_p=least))
        logits = scored(loaded, answer)
        assert np.all(logits[np.arange(4), answer] - logits.max(-1) > below)
        firsts.add(tuple(answer))
    assert len(firsts) > 1, "nothing was left to chance"


def test_min_p_of_one_keeps_the_most_probable_token_alone(loaded: Loaded) -> None:
    free = made(loaded, 4, Sampling())
    hot = [Sampling(loaded.at_most(5.0), seed=seed, min_p=1.0) for seed in range(6)]
    assert {tuple(made(loaded, 4, how)) for how in hot} == {tuple(free)}
