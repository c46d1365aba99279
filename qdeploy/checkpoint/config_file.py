"""The `config.json` of a checkpoint, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.table import config_warnings, parse_config
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json
from qdeploy.storage.toml_file import fault


class ConfigFile(NamedTuple):
    """A config.json as it is, the part of it that is used, and what was decided in it."""

    raw: dict[str, Any]
    config: ModelConfig
    warnings: tuple[str, ...]


def read_config(file: Path) -> ConfigFile:
    """Read the config.json *file*.

    Raises:
        CheckpointError: it is no JSON object, or a key is missing or holds an impossible value.
    """
    raw = read_json(file)
    try:
        return ConfigFile(raw, parse_config(raw), config_warnings(raw))
    except ValidationError as error:
        key, complaint = fault(error)
    names = raw.get("architectures")
    of = names[0] if isinstance(names, list) and names else raw.get("model_type", "any model")
    if isinstance(raw.get("text_config"), dict) and key not in raw:
        raise CheckpointError(
            f"{of} is a model of more than text, whose parts have configs of their own",
            where=file,
            fix="give a model of text alone, such as Qwen/Qwen3-8B",
        )
    raise CheckpointError(f"not the config of {of}: {key or 'config'!r}: {complaint}", where=file)
