"""The textual files of a bundle: from them, any runtime reads and writes text as the model did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.generation_settings import generation_settings
from qdeploy.tokenization.special_tokens import EXTRA, read_settings
from qdeploy.tokenization.stop_tokens import stop_tokens, with_stop_tokens
from qdeploy.tokenization.text_files import (
    GENERATION_CONFIG_FILE,
    MERGES_FILE,
    PROCESSOR_TEMPLATE_FILE,
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    TextFiles,
    find_text_files,
)
from qdeploy.tokenization.tokenizer_class import tokenizer_class
from qdeploy.tokenization.tokenizer_file import TokenizerDescription, read_tokenizer

NOT_CARRIED = (VOCAB_FILE, MERGES_FILE, PROCESSOR_TEMPLATE_FILE)
"""The first two are in `tokenizer.json` then; the third is read by no tokenizer."""


def write_text_files(files: TextFiles, folder: Path) -> None:
    """Write the textual files of a model into a bundle's *folder*.

    They are the model's own, byte for byte, except where transformers decides something outside of
    them, or where one that a runtime needs is missing.

    Raises:
        CheckpointError: a file is malformed.
    """
    for name, path in files.paths.items():
        if name not in NOT_CARRIED:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
    described = read_tokenizer(files)
    if not described.is_stored:
        _write(folder / TOKENIZER_FILE, described.content)
    if (settings := _settings(files, described)) != files.json(TOKENIZER_CONFIG_FILE):
        _write(folder / TOKENIZER_CONFIG_FILE, settings)
    stops = stop_tokens(files, described.eos_id)
    _, generation = generation_settings(files.folder)
    named = with_stop_tokens(generation, stops)
    if named != files.json(GENERATION_CONFIG_FILE):
        _write(folder / GENERATION_CONFIG_FILE, named)
    _write_template(files, folder)


def _settings(files: TextFiles, described: TokenizerDescription) -> dict[str, Any]:
    """The tokenizer's settings; those that only other files imply are added."""
    special = described.settings.special
    if not files.has(TOKENIZER_CONFIG_FILE):
        named = {"tokenizer_class": described.run_by.name, **special.named}
        return named | ({EXTRA: list(special.extra)} if special.extra else {})
    known, run_by = read_settings(files), described.run_by
    implied = {name: text for name, text in special.named.items() if name not in known}
    if tokenizer_class(files, known) != run_by:
        implied["tokenizer_class"] = run_by.name
    return files.json(TOKENIZER_CONFIG_FILE) | ({} if run_by.build else implied)


def _write_template(files: TextFiles, folder: Path) -> None:
    """Write the chat template where the files in *folder* do not hold it: it is an adapter's."""
    template = find_chat_template(files)
    if template is not None and find_chat_template(find_text_files(folder)) != template:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
