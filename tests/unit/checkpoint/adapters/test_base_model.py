"""The model that an adapter names, compared with the one that is given."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.table import parse_config
from qdeploy.checkpoint.adapters.base_model import disagreement, published
from qdeploy.checkpoint.published.names import variant
from tests.support.checkpoints import SMALL


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("unsloth/Qwen3-8B-bnb-4bit", "Qwen/Qwen3-8B"),
        ("unsloth/qwen3-8b-unsloth-bnb-4bit", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-0.6B-GPTQ-Int8", "Qwen/Qwen3-0.6B"),
        ("/root/models/Qwen3-8B-Base/", "Qwen/Qwen3-8B-Base"),
        (r"D:\models\Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507"),
        ("/hf/hub/models--Qwen--Qwen3-8B/snapshots/b968826d9c46dd6066d109eabc6255188de91218",
         "Qwen/Qwen3-8B"),
        ("mlx-community/Qwen3-30B-A3B-4bit", "Qwen/Qwen3-30B-A3B"),
        ("meta-llama/Llama-3.2-1B", None),
        ("./outputs/checkpoint-100", None),
        ("someone/8B", None),
        ("", None),
        ("///", None),
    ],
)  # fmt: skip
def test_a_published_model_is_known_by_its_name(name: str, hub_id: str | None) -> None:
    found = published(name)
    assert (found.hub_id if found else None) == hub_id


def config_of(name: str) -> ModelConfig:
    found = variant(name)
    assert found
    numbers: dict[str, Any] = SMALL | dict(found.numbers)
    return parse_config(numbers)


@pytest.mark.parametrize(
    ("named", "given", "words"),
    [
        ("unsloth/Qwen3-8B-bnb-4bit", "Qwen/Qwen3-8B", None),
        ("Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B", None),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-FP8", None),
        ("Qwen/Qwen3-8B", "my-model", None),
        ("/somewhere/else", "Qwen/Qwen3-8B", None),
        (None, "Qwen/Qwen3-8B", None),
        ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B", "and is merged into Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-8B", "hidden_size is 2560; that of this model"),
        ("Qwen/Qwen3-1.7B", "Qwen/Qwen3-8B", "trained on Qwen/Qwen3-1.7B by its adapter_config"),
    ],
)
def test_a_warning_where_they_differ(named: str | None, given: str, words: str | None) -> None:
    found = disagreement(named, given, config_of("Qwen/Qwen3-8B"))
    assert found is None if words is None else words in (found or "")
