"""The files of a model that decide how text becomes token ids and back: which, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
VOCAB_FILE, MERGES_FILE = "vocab.json", "merges.txt"
TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
PROMPTS_FILE = "config_sentence_transformers.json"
"""Settings of the sentence-transformers library, with the prompts of an embedding model."""
PROCESSOR_TEMPLATE_FILE = "chat_template.json"
"""A template for processors of images and sound; transformers' tokenizers do not read it."""

MODEL_FILES = (CONFIG_FILE, GENERATION_CONFIG_FILE, PROMPTS_FILE)
TOKENIZER_FILES = (
    TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE, VOCAB_FILE,
    MERGES_FILE,
)  # fmt: skip
TEMPLATE_FILES = (TEMPLATE_FILE, PROCESSOR_TEMPLATE_FILE)
TEXT_FILES = (*MODEL_FILES, *TOKENIZER_FILES, *TEMPLATE_FILES, f"{TEMPLATE_FOLDER}/*.jinja")
"""All of them, as patterns."""


@dataclass(frozen=True)
class TextFiles:
    """The textual files that a model has.

    Attributes:
        folder: the model's own.
        paths: the path of every file by its name, as in the table above; a named template is
            `additional_chat_templates/NAME.jinja`.
        template: source of the chat template, where it is not among *paths*.
    """

    folder: Path
    paths: Mapping[str, Path]
    template: str | None = None

    def has(self, name: str) -> bool:
        return name in self.paths

    def where(self, name: str) -> Path:
        """Where the file lies, or where it would."""
        return self.paths.get(name, self.folder / name)

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file; empty where the model has no such file.

        Raises:
            CheckpointError: it is not a JSON object.
        """
        return read_json(self.paths[name]) if name in self.paths else {}

    def text(self, name: str) -> str:
        """The content of a text file.

        Raises:
            CheckpointError: it is not UTF-8, or cannot be read.
        """
        file = self.where(name)
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"not UTF-8 text ({error})", where=file) from None
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})", where=file) from None

    @property
    def templates(self) -> dict[str, str]:
        """File name of every template in a file of its own, by the template's name."""
        names = {"default": TEMPLATE_FILE} if self.has(TEMPLATE_FILE) else {}
        inside = (name for name in self.paths if name.startswith(f"{TEMPLATE_FOLDER}/"))
        return names | {Path(name).stem: name for name in sorted(inside)}


def find_text_files(folder: Path) -> TextFiles:
    """List the textual files in *folder*, a checkpoint or a bundle."""
    found = (file for pattern in TEXT_FILES for file in sorted(folder.glob(pattern)))
    return TextFiles(folder, {f.relative_to(folder).as_posix(): f for f in found if f.is_file()})
