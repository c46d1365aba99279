"""The sampling that thinking and the answer are each meant to have, and the early stop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.generation.reasoning import default_sampling, early_stop
from qdeploy.interface import Sampling
from qdeploy.tokenization.tokenizer import Tokenizer

NANO = Tokenizer(models.path("qwen3-nano"))


def with_config(
    folder: Path, *, switch: bool = True, family: str | None = None, **generation: Any
) -> Tokenizer:
    shutil.copytree(NANO.folder, folder, dirs_exist_ok=True)
    if family:
        (folder / "config.json").write_text(json.dumps({"architectures": [family]}))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    if not switch:
        (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return Tokenizer(folder)


def test_the_family_may_be_named_by_its_type_alone(tmp_path: Path) -> None:
    tokenizer = with_config(tmp_path, **THINKING)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3"}), encoding="utf-8")
    assert default_sampling(tokenizer, thinking=False) == RECOMMENDED["content"]


RECOMMENDED = {"reasoning": Sampling(0.6, 0.95, 20), "content": Sampling(0.7, 0.8, 20)}
"""Of Qwen3's model cards."""
THINKING: dict[str, Any] = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": True}


@pytest.mark.parametrize(
    ("thinking", "mode"), [(None, "reasoning"), (True, "reasoning"), (False, "content")]
)
def test_each_mode_has_the_sampling_of_the_model_card(
    thinking: bool | None, mode: str, tmp_path: Path
) -> None:
    assert default_sampling(with_config(tmp_path, **THINKING), thinking) == RECOMMENDED[mode]


def test_the_models_own_values_win_for_its_default_mode(tmp_path: Path) -> None:
    tokenizer = with_config(tmp_path, temperature=0.1, top_p=0.2, top_k=3)
    assert default_sampling(tokenizer, None) == Sampling(0.1, 0.2, 3)


def test_a_model_without_a_switch_has_one_mode_and_its_values(tmp_path: Path) -> None:
    tokenizer = with_config(tmp_path, switch=False, temperature=0.7, top_p=0.8, top_k=20)
    assert default_sampling(tokenizer, None) == Sampling(0.7, 0.8, 20)


@pytest.mark.parametrize("values", [{}, dict.fromkeys(("temperature", "top_p", "top_k"))], ids=str)
def test_values_that_the_model_leaves_out_are_the_recommended(
    values: dict[str, Any], tmp_path: Path
) -> None:
    assert default_sampling(with_config(tmp_path, **values), None) == RECOMMENDED["reasoning"]


def test_a_model_that_asks_for_greedy_decoding_gets_it(tmp_path: Path) -> None:
    assert default_sampling(with_config(tmp_path, do_sample=False, temperature=0.6), None).greedy


@pytest.mark.parametrize("thinking", [None, True, False])
def test_what_the_file_asks_for_holds_in_every_mode(thinking: bool | None, tmp_path: Path) -> None:
    penalties: dict[str, Any] = {"repetition_penalty": 1.05, "presence_penalty": 1.5}
    sampled = default_sampling(with_config(tmp_path, **penalties), thinking)
    mode = RECOMMENDED["content" if thinking is False else "reasoning"]
    assert sampled == replace(mode, **penalties)
    greedy = with_config(tmp_path, do_sample=False, **penalties)
    assert default_sampling(greedy, thinking) == Sampling(**penalties)


def test_min_p_of_the_file_is_that_of_the_default_mode(tmp_path: Path) -> None:
    tokenizer = with_config(tmp_path, min_p=0.1)
    assert default_sampling(tokenizer, None).min_p == 0.1
    assert default_sampling(tokenizer, False).min_p == 0.0


def test_a_temperature_of_zero_is_greedy(tmp_path: Path) -> None:
    assert default_sampling(with_config(tmp_path, do_sample=True, temperature=0), None).greedy


OTHERS = ("LlamaForCausalLM", "Qwen2ForCausalLM", "UnknownForCausalLM")


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Sampling()),
        ({"temperature": 0.6, "top_p": 0.9}, Sampling()),
        ({"do_sample": False, "temperature": 0.6}, Sampling()),
        ({"do_sample": True}, Sampling(1.0, 1.0, 50)),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, Sampling(0.6, 0.9, 50)),
        ({"do_sample": True, "top_k": 0}, Sampling(1.0, 1.0, 0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("thinking", [None, False])
def test_a_family_without_recommendations_samples_as_in_transformers(
    family: str, values: dict[str, Any], expected: Sampling, thinking: bool | None, tmp_path: Path
) -> None:
    assert default_sampling(with_config(tmp_path, family=family, **values), thinking) == expected


def test_the_recommendations_are_those_of_the_family_and_its_mixture(tmp_path: Path) -> None:
    tokenizer = with_config(tmp_path, family="Qwen3MoeForCausalLM")
    assert default_sampling(tokenizer, None) == RECOMMENDED["reasoning"]
    assert early_stop(tokenizer) == early_stop(NANO)


@pytest.mark.parametrize("family", OTHERS)
def test_only_a_family_with_a_sentence_ends_thinking_with_more_than_the_tag(
    family: str, tmp_path: Path
) -> None:
    assert early_stop(with_config(tmp_path, family=family)) == "\n</think>\n\n"
    assert early_stop(NANO) == (
        "\n\nConsidering the limited time by the user, I have to give the solution based on the "
        "thinking directly now.\n</think>\n\n"
    )
