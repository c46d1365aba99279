"""Finds the chat template of a checkpoint or bundle in each of Hugging Face's layouts."""

from __future__ import annotations

from pathlib import Path

from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

FILE, SETTINGS, KEY = "chat_template.jinja", "tokenizer_config.json", "chat_template"


def find_chat_template(folder: Path) -> str | None:
    """Source of the chat template in *folder*, or None where there is none.

    It is a separate file, a string in the tokenizer's settings, or the entry named `default` of a
    list in those settings.

    Raises:
        CheckpointError: the template is not text.
    """
    file = folder / FILE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"not UTF-8 text ({error})", where=file) from None
    found = read_json(folder / SETTINGS).get(KEY)
    if isinstance(found, list):
        named = [t for t in found if isinstance(t, dict) and t.get("name") == "default"]
        found = named[0].get("template") if named else found
    if found is None or isinstance(found, str):
        return found
    raise CheckpointError(
        f"{KEY!r} is neither text nor a list with one called 'default'",
        where=folder / SETTINGS,
        fix=f"add {FILE}, which comes before it",
    )
