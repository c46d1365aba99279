"""What a model's generation settings ask for and do not get."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qdeploy.tokenization.generation_config import GenerationConfig, read_generation_config
from qdeploy.tokenization.generation_settings import (
    APPLIED,
    NOT_APPLIED,
    NOT_APPLIED_IN_SAMPLING,
    generation_settings,
    settings_in_config,
)
from qdeploy.tokenization.text_files import CONFIG_FILE

LONGEST_VALUE = 40
"""Characters of a value that a warning shows."""


def generation_warnings(folder: Path) -> tuple[str, ...]:
    """Return a warning for each setting in *folder* that does not decide the answers.

    Raises:
        CheckpointError: the file cannot be read.
    """
    config = read_generation_config(folder)
    source, settings = generation_settings(folder)
    found = [*_unusable(settings, config), *_not_applied(settings, config)]
    unread = [] if source == CONFIG_FILE else _overruled(settings_in_config(folder), settings)
    return (
        *(f"{source} asks for {setting}" for setting in found),
        *(f"{CONFIG_FILE} asks for {setting}, but {source} decides" for setting in unread),
    )


def _unusable(settings: Mapping[str, Any], config: GenerationConfig) -> Iterator[str]:
    for key in APPLIED:
        if settings.get(key) is not None and getattr(config, key) is None:
            yield f"{_text(settings, key)}, which is out of its range, so the default is used"


def _not_applied(settings: Mapping[str, Any], config: GenerationConfig) -> Iterator[str]:
    in_sampling = {} if config.do_sample is False else NOT_APPLIED_IN_SAMPLING
    for key, neutral in {**NOT_APPLIED, **in_sampling}.items():
        if settings.get(key) is not None and settings[key] not in neutral:
            yield f"{_text(settings, key)}, which qdeploy does not apply"


def _overruled(unread: Mapping[str, Any], read: Mapping[str, Any]) -> list[str]:
    """The settings of `config.json` that the file which is read contradicts."""
    usual = {**APPLIED, **NOT_APPLIED, **NOT_APPLIED_IN_SAMPLING}
    return [
        _text(unread, key)
        for key, value in unread.items()
        if value not in usual[key] and value != read.get(key)
    ]


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = json.dumps(settings[key], ensure_ascii=False)
    return f"{key} = {value if len(value) <= LONGEST_VALUE else f'{value[:LONGEST_VALUE]}...'}"
