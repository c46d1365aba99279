"""The contexts for which Qwen3's positions are scaled with YaRN, and the factors."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.table import parse_config
from tests.support.checkpoints import SMALL

PUBLISHED = SMALL | {"max_position_embeddings": 40960}
OWN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32768}


def config(**changes: Any) -> ModelConfig:
    return parse_config(PUBLISHED | changes)


@pytest.mark.parametrize("context", [1, 2048, 32768, 40960])
def test_what_the_model_was_made_for_needs_none(context: int) -> None:
    assert config().scaling_for(context) is None


def test_131072_tokens_are_four_times_those_of_training() -> None:
    scaling = config().scaling_for(131072)
    assert scaling is not None
    assert scaling["rope_type"] == "yarn"
    assert scaling["factor"] == 4.0
    assert scaling["original_max_position_embeddings"] == 32768


def test_the_factor_is_no_larger_than_the_context_needs() -> None:
    scaling = config().scaling_for(65536)
    assert scaling is not None
    assert scaling["factor"] == 2.0


@pytest.mark.parametrize("context", [100, 65536])
def test_the_checkpoints_own_scaling_holds_for_every_context(context: int) -> None:
    assert config(rope_scaling=OWN).scaling_for(context) == OWN


@pytest.mark.parametrize(
    ("changes", "longest"),
    [
        ({}, 131072),
        ({"rope_scaling": OWN}, 65536),
        ({"rope_scaling": {**OWN, "factor": None}}, 40960),
        ({"max_position_embeddings": 262144}, 262144),  # the 2507 models: nobody validated more
        ({"max_position_embeddings": 2048}, 2048),  # not one of Qwen's
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, 40960),
    ],
)
def test_the_longest_context(changes: dict[str, Any], longest: int) -> None:
    assert config(**changes).longest_context == longest
