"""A generation_config.json gives the distribution that transformers makes of the same file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy import models
from qdeploy.generation.reasoning import default_sampling
from qdeploy.interface import LogitsProcessor
from qdeploy.interface.sampler import distribution
from qdeploy.tokenization.generation_warnings import generation_warnings
from qdeploy.tokenization.tokenizer import Tokenizer

torch = pytest.importorskip("torch", reason="needs qdeploy[optimum]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[optimum]")

NANO = models.path("qwen3-nano")
PROMPT = list(range(40, 90, 3))
LOGITS = np.random.default_rng(3).normal(0, 4, 2048).astype(np.float32)
SAMPLED: dict[str, Any] = {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 1.0}


@pytest.fixture(scope="module")
def model() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(NANO, local_files_only=True)


def theirs(model: Any, folder: Path) -> NDArray[np.float32]:
    """Return the probability of every token by transformers; one for the best in greedy mode."""
    config = transformers.GenerationConfig.from_pretrained(folder)
    processors = model._get_logits_processor(config, input_ids_seq_length=len(PROMPT))
    scores = processors(torch.tensor([PROMPT]), torch.from_numpy(LOGITS[None].copy()))[0]
    if config.do_sample is not True:
        best: NDArray[np.float32] = np.eye(len(LOGITS), dtype=np.float32)[int(scores.argmax())]
        return best
    probabilities: NDArray[np.float32] = torch.softmax(scores.double(), -1).numpy()
    return probabilities


def ours(folder: Path) -> NDArray[np.float64]:
    sampling = default_sampling(Tokenizer(folder), None)
    logits = LogitsProcessor(sampling, PROMPT)(LOGITS)
    found = np.zeros(len(logits))
    if sampling.greedy:
        found[logits.argmax()] = 1
    else:
        tokens, probabilities = distribution(logits, sampling)
        found[tokens] = probabilities
    return found


@pytest.mark.parametrize(
    "settings",
    [
        SAMPLED, SAMPLED | {"top_p": 1.5}, SAMPLED | {"top_p": 0.7}, SAMPLED | {"top_p": 0},
        SAMPLED | {"top_k": 0}, SAMPLED | {"top_k": 10**6}, SAMPLED | {"min_p": 0.1},
        SAMPLED | {"temperature": 1}, SAMPLED | {"repetition_penalty": 1.3},
        SAMPLED | {"repetition_penalty": 0.7, "top_k": 3}, SAMPLED | {"min_p": 1.0},
        SAMPLED | {"typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "num_beams": 1},
        {"do_sample": False, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
        {"do_sample": False, "temperature": 0, "top_k": -1, "typical_p": 0.5},
        {"do_sample": False, "repetition_penalty": 5.0},
        {"do_sample": False, "temperature": None, "repetition_penalty": None},
    ],
    ids=str,
)  # fmt: skip
def test_the_distribution_is_that_of_transformers(
    settings: dict[str, Any], model: Any, tmp_path: Path
) -> None:
    shutil.copytree(NANO, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert generation_warnings(tmp_path) == ()
    np.testing.assert_allclose(ours(tmp_path), theirs(model, tmp_path), atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"no_repeat_ngram_size": 2}, {"bad_words_ids": [[7]]}, {"suppress_tokens": [7, 8]},
        {"begin_suppress_tokens": [7]}, {"typical_p": 0.5}, {"epsilon_cutoff": 0.01},
        {"eta_cutoff": 0.01}, {"top_h": 0.3}, {"sequence_bias": [[[7], 5.0]]},
        {"exponential_decay_length_penalty": [0, 1.5]}, {"guidance_scale": 2.0},
        {"forced_bos_token_id": 7}, {"encoder_repetition_penalty": 1.5}, {"min_length": 500},
    ],
    ids=str,
)  # fmt: skip
def test_what_else_transformers_applies_is_warned_of(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Every one of these is a processor of transformers' `generate`."""
    (tmp_path / "generation_config.json").write_text(json.dumps(SAMPLED | settings))
    [warning] = generation_warnings(tmp_path)
    assert next(iter(settings)) in warning
    config = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert getattr(config, next(iter(settings))) is not None
