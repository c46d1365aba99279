"""The model's own settings in `genai_config.json`."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy import models
from qdeploy.checkpoint.checkpoint import read_checkpoint
from qdeploy.exporters.native.onnx.genai import genai_config
from qdeploy.tokenization.generation_config import GenerationConfig


def told(generation: dict[str, Any], special: dict[str, int]) -> dict[str, Any]:
    config = read_checkpoint(models.path("qwen3-nano")).decoder.graph(None)
    settings = GenerationConfig.model_validate(generation)
    return genai_config(config, "qwen3", 100, settings, special)


@pytest.mark.parametrize(
    ("generation", "special", "ends"),
    [
        ({"eos_token_id": [7, 8]}, {"eos_token_id": 9}, [7, 8]),
        ({"eos_token_id": 0}, {"eos_token_id": 9}, [0]),
        ({"eos_token_id": None}, {"eos_token_id": 9}, [9]),
        ({"eos_token_id": []}, {"eos_token_id": 9}, [9]),
        ({}, {"eos_token_id": 9}, [9]),
        ({}, {}, []),
    ],
)
def test_the_tokens_that_end_an_answer(
    generation: dict[str, Any], special: dict[str, int], ends: list[int]
) -> None:
    assert told(generation, special)["model"]["eos_token_id"] == ends


def test_a_null_is_as_good_as_nothing() -> None:
    names = ["do_sample", "temperature", "top_k", "top_p"]
    assert told(dict.fromkeys(names), {}) == told({}, {})


def test_odd_settings_are_written_as_they_are_read() -> None:
    odd = {"do_sample": True, "temperature": 0, "top_k": -1, "top_p": 2.0}
    search = told(odd | {"repetition_penalty": 1.05}, {})["search"]
    assert (search["do_sample"], search["temperature"]) == (False, 1.0)
    assert (search["top_k"], search["top_p"], search["repetition_penalty"]) == (0, 1.0, 1.05)
