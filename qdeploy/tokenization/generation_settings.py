"""Which settings of transformers' `generate` a model has, and which file has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.text_files import CONFIG_FILE, GENERATION_CONFIG_FILE

APPLIED: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (False,), "temperature": (1,), "top_k": (50,), "top_p": (1,), "min_p": (0,),
    "repetition_penalty": (1,), "presence_penalty": (0,), "max_new_tokens": (),
    "max_length": (20,),
}  # fmt: skip
"""Settings that decide the answers here, with transformers' defaults besides null."""
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


def generation_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the generation settings of the model in *folder*, and the name of their file.

    As in transformers they are those of `generation_config.json`, or of `config.json` where there
    is no such file.

    Raises:
        CheckpointError: the file is malformed.
    """
    file = folder / GENERATION_CONFIG_FILE
    if file.is_file():
        return GENERATION_CONFIG_FILE, read_json(file)
    return CONFIG_FILE, settings_in_config(folder)


def settings_in_config(folder: Path) -> dict[str, Any]:
    """Return the generation settings that `config.json` has, without nulls."""
    file = folder / CONFIG_FILE
    config = read_json(file) if file.is_file() else {}
    known = [*APPLIED, *NOT_APPLIED, *NOT_APPLIED_IN_SAMPLING]
    return {key: config[key] for key in known if config.get(key) is not None}
