"""The prompts of an embedding model: what goes before a text, e.g. before a query."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json
from qdeploy.tokenization.text_files import PROMPTS_FILE


class Prompts(NamedTuple):
    """Texts that go before what is embedded, by name, and the name of the one used by default."""

    texts: Mapping[str, str]
    default: str | None


def read_prompts(folder: Path) -> Prompts:
    """The prompts of the checkpoint or bundle in *folder*; none where it has no such file.

    Raises:
        CheckpointError: the file is malformed.
    """
    file = folder / PROMPTS_FILE
    content = read_json(file) if file.is_file() else {}
    prompts, default = content.get("prompts") or {}, content.get("default_prompt_name")
    named = isinstance(prompts, dict) and all(isinstance(text, str) for text in prompts.values())
    if not named or not isinstance(default, str | None):
        raise CheckpointError(
            "'prompts' or 'default_prompt_name' is no text",
            where=file,
            fix="correct it, or remove the file if the texts need no prompts",
        )
    if default is not None and default not in prompts:
        raise CheckpointError(
            f"default_prompt_name is {default!r}, and the prompts are "
            f"{', '.join(map(repr, prompts)) or 'none'}",
            where=file,
            fix="name one of them, or null for none",
        )
    return Prompts(prompts, default)
