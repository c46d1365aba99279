"""Settings and methods of PEFT: merged, ignored with a warning, or refused with a fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint.adapters.config import AdapterConfig, read_config
from qdeploy.checkpoint.adapters.targets import is_target
from qdeploy.errors import InputError

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
Q = "model.layers.11.self_attn.q_proj"


def read(folder: Path, **settings: Any) -> tuple[AdapterConfig, list[str]]:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(LORA | settings))
    return read_config(file, model=Path("model"))


@pytest.mark.parametrize(
    ("settings", "words", "merges"),
    [
        ({"peft_type": "IA3"}, "of type 'IA3', not 'LORA'", True),
        ({"peft_type": "LOHA"}, "of type 'LOHA'", True),
        ({"peft_type": "PROMPT_TUNING"}, "it changes what the layers are given", False),
        ({"peft_type": "XLORA"}, "it weighs several adapters", False),
        ({"peft_type": None}, "no 'peft_type'", False),
        ({"peft_type": ["LORA"]}, "no 'peft_type'", False),
        ({"lora_bias": True}, "it adds biases", False),
        ({"layer_replication": [[0, 2]]}, "it repeats layers", False),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA", False),
        ({"use_qalora": True}, "QA-LoRA", False),
        ({"use_bdlora": {"nblocks": 2}}, "BD-LoRA", True),
        ({"kasa_config": {"beta": 1}}, "KaSA", True),
        ({"init_lora_weights": "pissa_niter_4"}, "changing the base weights", True),
        ({"init_lora_weights": "olora"}, "changing the base weights", True),
        ({"init_lora_weights": "LoftQ"}, "changing the base weights", True),
        ({"init_lora_weights": "new"}, "how it began is not known", True),
        ({"init_lora_weights": {}}, "how it began is not known", True),
    ],
)
def test_what_is_refused(
    tmp_path: Path, settings: dict[str, Any], words: str, merges: bool
) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json: ") as caught:
        read(tmp_path, **settings)
    assert words in caught.value.what
    assert ("merge_and_unload" in (caught.value.fix or "")) == merges


@pytest.mark.parametrize(
    "settings",
    [
        {"bias": "all"}, {"init_lora_weights": None}, {"fan_in_fan_out": True},
        {"revision": "main"},
        {"use_bdlora": None, "kasa_config": None, "layer_replication": []}, {"lora_dropout": 0.1},
        {"eva_config": {"rho": 2.0}, "megatron_core": "megatron.core", "loftq_config": {}},
        {"task_type": "CAUSAL_LM", "peft_version": "0.21.2", "auto_mapping": {"a": "b"}},
    ],
)  # fmt: skip
def test_what_changes_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert read(tmp_path, **settings)[1] == []


def test_a_setting_of_the_future_is_told(tmp_path: Path) -> None:
    _, warnings = read(tmp_path, use_newer=True, another=None, third=[1])
    assert [text.partition(": ")[2] for text in warnings] == ["third, use_newer"]


@pytest.mark.parametrize(
    ("settings", "name", "targeted"),
    [
        ({"target_modules": ["q_proj"]}, Q, True),
        ({"target_modules": ["proj"]}, Q, False),
        ({"target_modules": ["self_attn.q_proj"]}, Q, True),
        ({"target_modules": [Q]}, Q, True),
        ({"target_modules": "q_proj"}, Q, False),  # a pattern of the whole name
        ({"target_modules": r".*\.q_proj"}, Q, True),
        ({"target_modules": "all-linear"}, Q, True),
        ({"target_modules": "all-linear"}, "lm_head", False),
        ({"target_modules": ["q_proj"], "exclude_modules": ["11.self_attn.q_proj"]}, Q, False),
        ({"target_modules": ["q_proj"], "exclude_modules": r".*\.1\..*"}, Q, True),
        ({"target_modules": ["q_proj"], "modules_to_save": ["self_attn"]}, Q, False),
        ({"target_modules": ["q_proj"], "layers_to_transform": 11}, Q, True),
        ({"target_modules": ["q_proj"], "layers_to_transform": [1]}, Q, False),
        ({"target_modules": ["q_proj"], "layers_to_transform": []}, Q, True),
        ({"target_modules": ["q_proj"], "layers_to_transform": [11], "layers_pattern": "layers"}, Q,
         True),
        ({"target_modules": ["q_proj"], "layers_to_transform": [11], "layers_pattern": ["h"]}, Q,
         False),
        ({"target_modules": [], "target_parameters": ["q_proj.weight"]}, Q, True),
        ({"target_parameters": ["experts.down_proj"]}, Q, False),
        ({"target_parameters": ["experts.down_proj"]}, "model.layers.0.mlp.experts", True),
        ({}, Q, True),
    ],
)  # fmt: skip
def test_what_is_adapted(settings: dict[str, Any], name: str, targeted: bool) -> None:
    config = AdapterConfig.model_validate(LORA | settings)
    assert is_target(config, [name]) == targeted
