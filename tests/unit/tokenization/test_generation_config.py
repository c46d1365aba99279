"""What `generation_config.json` says: read as transformers reads it, or refused aloud."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.generation_config import read_generation_config
from qdeploy.tokenization.generation_warnings import generation_warnings


def written(folder: Path, **settings: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"top_k": 20.0}, {"top_k": 20}),
        ({"top_p": 1.5}, {"top_p": 1.0}),
        ({"top_p": 0}, {"top_p": 1e-6}),
        ({"min_p": 1.0, "do_sample": True}, {"min_p": 1.0, "do_sample": True}),
        ({"do_sample": False, "temperature": 0.6}, {"do_sample": False, "temperature": 0.6}),
        ({"repetition_penalty": 1.05}, {"repetition_penalty": 1.05}),
        ({"presence_penalty": 1.5}, {"presence_penalty": 1.5}),
        ({"max_new_tokens": 512.0, "max_length": 20}, {"max_new_tokens": 512, "max_length": 20}),
        (dict.fromkeys(("temperature", "top_k", "top_p", "min_p", "max_new_tokens")), {}),
        ({"num_beams": 1, "typical_p": 1.0, "no_repeat_ngram_size": 0, "bad_words_ids": []}, {}),
        ({"do_sample": False, "typical_p": 0.9}, {"do_sample": False}),
        ({"pad_token_id": -1, "length_penalty": 2.0, "_from_model_config": True}, {}),
    ],
    ids=str,
)
def test_odd_but_harmless_settings_are_read_without_a_word(
    settings: dict[str, Any], read: dict[str, Any], tmp_path: Path
) -> None:
    config = read_generation_config(written(tmp_path, **settings))
    assert config.model_dump(exclude_none=True) == read
    assert generation_warnings(tmp_path) == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -0.5), ("top_p", -0.1), ("min_p", 1.5), ("repetition_penalty", 0.0),
        ("presence_penalty", 2.5), ("max_new_tokens", 0), ("max_length", -1),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_as_if_it_were_not_there_and_a_warning(
    key: str, value: float, tmp_path: Path
) -> None:
    assert getattr(read_generation_config(written(tmp_path, **{key: value})), key) is None
    [warning] = generation_warnings(tmp_path)
    asked = f"generation_config.json asks for {key} = {value}"
    assert warning == f"{asked}, which is out of its range, so the default is used"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no_repeat_ngram_size", 3), ("num_beams", 4), ("bad_words_ids", [[7]]),
        ("suppress_tokens", [7]), ("min_new_tokens", 5), ("typical_p", 0.9), ("eta_cutoff", 3e-4),
        ("stop_strings", ["x"]), ("forced_eos_token_id", 0), ("guidance_scale", 1.5),
        ("frequency_penalty", 0.5),
    ],
)  # fmt: skip
def test_a_setting_that_no_backend_applies_is_a_warning(
    key: str, value: Any, tmp_path: Path
) -> None:
    [warning] = generation_warnings(written(tmp_path, **{key: value}))
    asked = f"generation_config.json asks for {key} = {json.dumps(value)}"
    assert warning == f"{asked}, which qdeploy does not apply"


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    [warning] = generation_warnings(written(tmp_path, bad_words_ids=[[1]] * 1000))
    assert len(warning) < 200


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": "hot"}, {"temperature": math.nan}, {"top_k": [1]}, {"top_k": True},
        {"top_k": 1.5}, {"do_sample": "yes"}, {"max_new_tokens": "many"},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_of_another_type_is_refused_with_its_name(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    [key] = settings
    with pytest.raises(CheckpointError, match=f"generation_config.json: {key}: ") as caught:
        read_generation_config(written(tmp_path, **settings))
    assert caught.value.fix == f"correct {key} in the file, or remove it there"


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert read_generation_config(tmp_path).model_dump(exclude_none=True) == {}
    assert generation_warnings(tmp_path) == ()


class TestInConfigJson:
    """Transformers reads `config.json` where there is no `generation_config.json`."""

    SETTINGS: ClassVar = {"do_sample": True, "temperature": 0.3, "no_repeat_ngram_size": 3}

    def test_they_count_where_there_is_no_other_file(self, tmp_path: Path) -> None:
        config = json.dumps({"hidden_size": 64, "eos_token_id": 7, **self.SETTINGS})
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
        read = read_generation_config(tmp_path)
        assert (read.do_sample, read.temperature, read.eos_token_id) == (True, 0.3, None)
        assert generation_warnings(tmp_path) == (
            "config.json asks for no_repeat_ngram_size = 3, which qdeploy does not apply",
        )

    def test_beside_the_other_file_they_count_for_nothing_which_is_said(
        self, tmp_path: Path
    ) -> None:
        config = json.dumps({**self.SETTINGS, "top_p": 0.5, "top_k": 50, "num_beams": 1})
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
        written(tmp_path, do_sample=True, top_p=0.5, temperature=0.6)
        assert read_generation_config(tmp_path).temperature == 0.6
        assert generation_warnings(tmp_path) == (
            "config.json asks for temperature = 0.3, but generation_config.json decides",
            "config.json asks for no_repeat_ngram_size = 3, but generation_config.json decides",
        )
