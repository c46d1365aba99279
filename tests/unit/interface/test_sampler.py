"""The distribution that tokens are drawn from is that of a stable sort of the whole vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.interface import LogitsProcessor, Sampling
from qdeploy.interface.sampler import HEAD, Sampler, distribution, likely

LOGIT = st.one_of(
    st.integers(-8, 8).map(lambda n: n / 4),  # many are equal
    st.sampled_from([0.0, -0.0, -np.inf]),
    st.floats(-(2.0**100), 2.0**100, width=32),
)


def sorted_first(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    scaled = logits.astype(np.float64) / sampling.temperature
    order = np.argsort(-scaled, kind="stable")[: sampling.top_k or None]
    weights = np.exp(scaled[order] - scaled[order[0]])
    weights /= weights.sum()
    order, weights = order[weights > 0], weights[weights > 0]
    kept = int(np.searchsorted(weights.cumsum(), sampling.top_p)) + 1
    return order[:kept], weights[:kept] / weights[:kept].sum()


@given(
    st.lists(LOGIT, min_size=1, max_size=40),
    st.floats(-30, 30, width=32),
    st.integers(0, 45),
    st.sampled_from([0.01, 0.6, 1.0, 30.0]),
    st.sampled_from([0.05, 0.5, 0.95, 1.0]),
)
def test_tokens_and_probabilities(
    values: list[float], finite: float, top_k: int, temperature: float, top_p: float
) -> None:
    logits = np.array([*values, finite], np.float32)
    sampling = Sampling(temperature, top_p=top_p, top_k=top_k)
    for made, wanted in zip(
        distribution(logits, sampling), sorted_first(logits, sampling), strict=True
    ):
        assert np.array_equal(made, wanted)


@pytest.mark.parametrize("made", [[], [3], [3, 1, 3, 5, 5]])
def test_the_tokens_of_an_answer_are_penalized_from_the_next_one_on(made: list[int]) -> None:
    logits = np.full(8, 4, np.float32)
    process = LogitsProcessor(Sampling(repetition_penalty=2.0), [1])
    process(logits)
    for token in made:
        process.append(token)
        process(logits)
    assert np.flatnonzero(process(logits) == 2).tolist() == sorted({1, *made})


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("top_p", [0.5, 0.95, 1.0])
def test_what_is_drawn_without_a_top_k_is_what_the_whole_distribution_gives(
    spread: float, top_p: float
) -> None:
    random = np.random.default_rng(5)
    found = 0
    for seed in range(40):
        logits = (spread * random.standard_normal(3 * HEAD)).astype(np.float32)
        sampling = Sampling(0.8, top_p=top_p, seed=seed)
        tokens, weights = distribution(logits, sampling)
        chance = np.random.default_rng(seed).random()
        wanted = int(tokens[np.searchsorted(weights.cumsum(), chance, side="right")])
        assert Sampler(sampling).draw(logits) == wanted
        found += likely(logits, sampling, chance) is not None
    share = {0.1: 0.37, 1.0: 0.72, 4.0: 0.99}[spread]  # of the probability that the head has
    assert found == 40 * (top_p < share) if top_p < 1 else 0 < found <= 40
