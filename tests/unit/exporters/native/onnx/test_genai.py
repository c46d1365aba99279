"""The model's own settings in `genai_config.json`."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.exporters.native.onnx.genai import genai_config
from qdeploy.exporters.native.tokenizer.runtime_tokens import RuntimeTokens
from qdeploy.tokenization.generation_config import GenerationConfig

NONE = RuntimeTokens(None, (), None)


def told(generation: dict[str, Any], tokens: RuntimeTokens) -> dict[str, Any]:
    config = read_checkpoint(models.path("qwen3-nano")).decoder.graph(None)
    settings = GenerationConfig.model_validate(generation)
    return genai_config(config, "qwen3", 100, settings, tokens)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (RuntimeTokens(3, (7, 8), 4), (3, [7, 8], 4)),
        (RuntimeTokens(0, (7,), 0), (0, [7], 0)),
        (RuntimeTokens(None, (7, 8), None), (7, [7, 8], 7)),
        (RuntimeTokens(None, (), None), (0, [], 0)),
    ],
)
def test_the_tokens_that_begin_end_and_pad(
    tokens: RuntimeTokens, expected: tuple[int, list[int], int]
) -> None:
    model = told({}, tokens)["model"]
    assert (model["bos_token_id"], model["eos_token_id"], model["pad_token_id"]) == expected


def test_a_null_is_as_good_as_nothing() -> None:
    names = ["do_sample", "temperature", "top_k", "top_p"]
    assert told(dict.fromkeys(names), NONE) == told({}, NONE)


def test_odd_settings_are_written_as_they_are_read() -> None:
    odd = {"do_sample": True, "temperature": 0, "top_k": -1, "top_p": 2.0}
    search = told(odd | {"repetition_penalty": 1.05}, NONE)["search"]
    assert (search["do_sample"], search["temperature"]) == (False, 1.0)
    assert (search["top_k"], search["top_p"], search["repetition_penalty"]) == (0, 1.0, 1.05)
