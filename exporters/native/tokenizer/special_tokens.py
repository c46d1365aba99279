"""Ids of the tokens that begin, end and pad a text, by the names that runtimes use for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qdeploy.storage.json_file import read_json


def special_ids(folder: Path, added: Mapping[str, int]) -> dict[str, int]:
    """`bos_token_id`, `eos_token_id` and `pad_token_id` of a checkpoint, those that it has.

    Args:
        folder: the checkpoint's.
        added: id of every added token by its text.
    """
    settings = read_json(folder / "tokenizer_config.json")
    ids = {}
    for name in ("bos_token", "eos_token", "pad_token"):
        token = settings.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str) and text in added:
            ids[f"{name}_id"] = added[text]
    return ids
