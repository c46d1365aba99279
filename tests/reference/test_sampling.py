"""Penalties and min-p are those of transformers' own processors."""

from __future__ import annotations

import numpy as np
import pytest

from qdeploy.interface import LogitsProcessor, Sampling

torch = pytest.importorskip("torch", reason="needs qdeploy[optimum]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[optimum]")

LOGITS = np.random.default_rng(5).normal(0, 3, 200).astype(np.float32)
PROMPT, MADE = list(range(0, 60, 3)), list(range(0, 100, 7))


@pytest.mark.parametrize("penalty", [0.5, 1.1, 1.7])
def test_repetition_penalty(penalty: float) -> None:
    process = LogitsProcessor(Sampling(repetition_penalty=penalty), PROMPT)
    for token in MADE:
        process.append(token)
    theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)
    expected = theirs(torch.tensor([PROMPT + MADE]), torch.from_numpy(LOGITS[None].copy()))
    np.testing.assert_allclose(process(LOGITS), expected[0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 3.0])
@pytest.mark.parametrize("min_p", [0.01, 0.1, 0.7, 1.0])
def test_min_p(temperature: float, min_p: float) -> None:
    process = LogitsProcessor(Sampling(temperature, min_p=min_p), [])
    scores = torch.from_numpy(LOGITS[None] / temperature)
    theirs = transformers.MinPLogitsWarper(min_p)
    kept = torch.isfinite(theirs(torch.tensor([[0]]), scores))[0].numpy()
    assert np.array_equal(np.isfinite(process(LOGITS)), kept)
