"""An adapter as PEFT loads and merges it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qdeploy.errors import InputError
from qdeploy.verification.libraries import quiet, reason, require
from qdeploy.verification.stored import TRAINERS, Stored, read_stored

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Of every name that PEFT writes and reads."""
EMBEDDINGS = r"(embed_tokens|lm_head)(\.modules_to_save|\.base_layer)?\.weight$"
"""Names of whole embeddings in an adapter."""
MISSING = "Found missing adapter keys"
"""The beginning of PEFT's warning; it does not return the names."""


def merge(model: Any, adapter: Path) -> Any:
    """Merge the adapter in a folder into transformers' *model*, and return it.

    Raises:
        InputError: PEFT cannot load it, or does not find all of its weights.
        TargetUnavailable: PEFT is not installed.
    """
    peft, stored = require("peft"), read_stored(adapter)
    try:
        with quiet() as caught, _named_for_peft(adapter, stored) as folder:
            _resize(model, stored.rows(EMBEDDINGS))
            wrapped = peft.PeftModel.from_pretrained(model, folder)
            merged = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # whatever a library raises
        raise InputError(f"PEFT cannot load it ({reason(error)})", where=adapter) from None
    said = (str(warning.message) for warning in caught)
    if lost := next((text for text in said if text.startswith(MISSING)), None):
        raise InputError(f"PEFT: {lost[:200]}", where=adapter)
    return merged


def _resize(model: Any, rows: int | None) -> None:
    """Give the vocabulary the size that the adapter stores embeddings for, as users must."""
    if rows not in (None, model.get_input_embeddings().weight.shape[0]):
        model.resize_token_embeddings(rows, mean_resizing=False)


@contextmanager
def _named_for_peft(adapter: Path, stored: Stored) -> Iterator[Path]:
    """A folder with the adapter's tensors under PEFT's names: its own, or a copy.

    PEFT leaves out a tensor whose name a trainer has changed, and so merges nothing.
    """
    names = {name: _peft_name(name) for name in stored.dtypes}
    if all(name == known for name, known in names.items()):
        yield adapter
        return
    files = require("safetensors.torch")
    with TemporaryDirectory() as folder:
        shutil.copy(adapter / CONFIG, folder)
        tensors = files.load_file(adapter / WEIGHTS)
        renamed = {names[name]: tensor for name, tensor in tensors.items()}
        files.save_file(renamed, Path(folder) / WEIGHTS, metadata={"format": "pt"})
        yield Path(folder)


def _peft_name(name: str) -> str:
    for pattern in TRAINERS.values():
        name = re.sub(pattern, "", name)
    return name if name.startswith(PREFIX) else PREFIX + name
