"""Whether a checkpoint can be the float original of the quantized one that a bundle is from.

Calibration and rounding change the weights alone, so everything else must be the same.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from qdeploy.architectures.config import ModelConfig
from qdeploy.architectures.table import parse_config
from qdeploy.bundle import Bundle
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.errors import QdeployError
from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.text_files import TextFiles, find_text_files
from qdeploy.tokenization.tokenizer_file import read_tokenizer

CONFIG = "config.json"
OF_THE_FILE = {"architectures", "quantization_config"}
"""Fields of a config that say nothing of the model's shape."""


def is_original(checkpoint: Checkpoint, judged: Bundle) -> bool:
    """Whether *checkpoint* is of floats, and config and token ids are those of the bundle.

    False as well for a bundle of a checkpoint that was not quantized: it has one source only.
    """
    if not judged.manifest.plan.get("quantized_by") or checkpoint.methods:
        return False
    try:
        config = parse_config(read_json(judged.path / CONFIG))
        same = _shape(config) == _shape(checkpoint.config)
        return same and _ids(find_text_files(judged.path)) == _ids(checkpoint.text_files)
    except (QdeployError, ValidationError):
        return False


def _shape(config: ModelConfig) -> dict[str, Any]:
    return config.model_dump(exclude=OF_THE_FILE)


def _ids(files: TextFiles) -> tuple[object, object, dict[str, int]]:
    described = read_tokenizer(files)
    model = described.content["model"]
    return model.get("vocab"), model.get("merges"), described.added_ids
