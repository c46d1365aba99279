"""What `generation_config.json` asks for and does not get."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.generation_config import (
    GenerationConfig,
    read_generation_config,
)
from qdeploy.tokenization.text_files import GENERATION_CONFIG_FILE

NOT_APPLIED: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,), "num_return_sequences": (1,), "penalty_alpha": (0,), "dola_layers": (),
    "min_length": (0,), "min_new_tokens": (0,), "max_time": (), "stop_strings": ([], ""),
    "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,), "frequency_penalty": (0,), "bad_words_ids": ([],),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "sequence_bias": ({}, []),
    "forced_bos_token_id": (), "forced_eos_token_id": (), "forced_decoder_ids": ([],),
    "force_words_ids": ([],), "constraints": ([],), "exponential_decay_length_penalty": (),
    "guidance_scale": (1,), "token_healing": (False,), "watermarking_config": (),
}  # fmt: skip
"""Settings of transformers' `generate` that change an answer and that no backend applies, with the
values, besides null, at which they change nothing."""
NOT_APPLIED_IN_SAMPLING: Mapping[str, tuple[Any, ...]] = {
    "typical_p": (1,), "epsilon_cutoff": (0,), "eta_cutoff": (0,), "top_h": (),
}  # fmt: skip
"""The same for settings that transformers reads only where `do_sample` is set."""
LONGEST_VALUE = 40
"""Characters of a value that a warning shows."""


def generation_warnings(folder: Path) -> tuple[str, ...]:
    """Return a warning for each setting in *folder* that does not decide the answers.

    Raises:
        CheckpointError: the file cannot be read.
    """
    config = read_generation_config(folder)
    file = folder / GENERATION_CONFIG_FILE
    raw = read_json(file) if file.is_file() else {}
    return (*_unusable(raw, config), *_not_applied(raw, config))


def _unusable(raw: Mapping[str, Any], config: GenerationConfig) -> Iterator[str]:
    for key in GenerationConfig.model_fields:
        if raw.get(key) is not None and getattr(config, key) is None:
            yield (
                f"{GENERATION_CONFIG_FILE}: {key} is {_text(raw[key])}, which is out of its range, "
                f"so the default is used"
            )


def _not_applied(raw: Mapping[str, Any], config: GenerationConfig) -> Iterator[str]:
    in_sampling = {} if config.do_sample is False else NOT_APPLIED_IN_SAMPLING
    for key, neutral in {**NOT_APPLIED, **in_sampling}.items():
        value = raw.get(key)
        if value is not None and value not in neutral:
            yield (
                f"{GENERATION_CONFIG_FILE} asks for {key} = {_text(value)}, which qdeploy does not "
                "apply"
            )


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
