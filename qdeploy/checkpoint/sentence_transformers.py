"""The files that the sentence-transformers library adds to a checkpoint, as versions 2 to 6 write.

modules.json                          the modules that a text goes through, and their folders
1_Pooling/config.json                 how the hidden states become one vector
sentence_bert_config.json             what is done to texts before the transformer
config_sentence_transformers.json     prompts, and the kind of model
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

MODULES, TRANSFORMER_SETTINGS = "modules.json", "sentence_bert_config.json"
SUPPORTED_MODE = "lasttoken"
LEGACY = "pooling_mode_"
"""Begins the keys of the library before version 6, one flag for each way of pooling."""
SUPPORTED = ("Transformer", "Pooling", "Normalize", "LogitScore")


OWN = "sentence_transformers."
"""Begins the names of the library's classes; those of other packages are code of the model's."""


class Module(NamedTuple):
    """A step of the library's pipeline: the class, and its folder in the checkpoint."""

    type: str
    path: str

    @property
    def kind(self) -> str:
        """Name of the class, without its package."""
        return self.type.rpartition(".")[2]


def read_modules(folder: Path) -> tuple[Module, ...]:
    """The modules of the checkpoint in *folder*; none where it has no such file.

    Raises:
        CheckpointError: the file is malformed, or names a module that is not supported.
    """
    file = folder / MODULES
    if not file.is_file():
        return ()
    found = _listed(file)
    for module in found:
        if module.kind not in SUPPORTED:
            raise CheckpointError(
                f"after the transformer comes a module {module.kind}; supported are "
                f"{', '.join(SUPPORTED)}",
                where=file,
                fix="export a model that has none",
            )
        if not module.type.startswith(OWN):
            raise CheckpointError(
                f"the module {module.type} is code of the model's own, which is not run",
                where=file,
                fix="export a model of sentence-transformers' own modules",
            )
        path = PurePosixPath(module.path)
        if path.is_absolute() or ".." in path.parts:
            raise CheckpointError(f"the path {module.path!r} leaves the checkpoint", where=file)
    return found


def _listed(file: Path) -> tuple[Module, ...]:
    """The entries of a `modules.json`, unchecked."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Module(str(entry["type"]), str(entry["path"])) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"not a list of modules ({error})", where=file) from None


def check_is_whole(folder: Path) -> None:
    """Check that *folder* is not the part of a model whose `modules.json` lies above it.

    Raises:
        CheckpointError: it is, so what is done to the states of its transformer is not in it.
    """
    file = folder.resolve().parent / MODULES
    if not file.is_file() or (folder / MODULES).is_file():
        return
    if any(module.path == folder.resolve().name for module in _listed(file)):
        raise CheckpointError(
            f"a part of the model of sentence-transformers in {file.parent}",
            where=folder,
            fix=moved_up(folder.resolve()),
        )


def moved_up(part: Path) -> str:
    """The fix for a transformer in the folder *part* of a model."""
    whole = shlex.quote(str(part.parent))
    return f"move its files up, mv {shlex.quote(str(part))}/* {whole}, and give {whole}"


def check_pooling(folder: Path, modules: tuple[Module, ...]) -> bool:
    """Check that embeddings are those of the last token; return whether they are normalized.

    Raises:
        CheckpointError: they are made of other tokens, or no module makes them.
    """
    pooling = next((module for module in modules if module.kind == "Pooling"), None)
    if pooling is None:
        raise CheckpointError(
            "no Pooling module says which token's state is the embedding", where=folder / MODULES
        )
    file = folder / pooling.path / "config.json"
    if (mode := _pooling_mode(read_json(file))) != SUPPORTED_MODE:
        raise CheckpointError(
            f"embeddings are pooled by {mode}, and not by {SUPPORTED_MODE} as in Qwen3-Embedding",
            where=file,
            fix="export a model that was trained so",
        )
    return any(module.kind == "Normalize" for module in modules)


def transformer_warnings(folder: Path, positions: object) -> tuple[str, ...]:
    """What the library does to texts, and qdeploy does not.

    *positions* is the model's `max_position_embeddings`, beyond which no text may be anyway.

    Raises:
        CheckpointError: it changes every text.
    """
    file = folder / TRANSFORMER_SETTINGS
    settings = read_json(file) if file.is_file() else {}
    if settings.get("do_lower_case"):
        raise CheckpointError(
            "texts are made lower case first (do_lower_case), which qdeploy does not do",
            where=file,
            fix="export a model that takes texts as they are",
        )
    longest = settings.get("max_seq_length")
    warning = (
        f"sentence-transformers cuts texts to {longest} tokens ({TRANSFORMER_SETTINGS}); for the "
        f"same, --context {longest} here, and --truncate to embed"
    )
    is_limit = isinstance(longest, int) and isinstance(positions, int) and longest < positions
    return (warning,) if is_limit else ()


def _pooling_mode(content: dict[str, Any]) -> str:
    """The way of pooling; several are joined by commas. The library's default is the mean."""
    mode = content.get("pooling_mode")
    if mode is None:
        flags = [k.removeprefix(LEGACY) for k, v in content.items() if k.startswith(LEGACY) and v]
        mode = flags or "mean"
    return ", ".join(map(str, mode)) if isinstance(mode, list) else str(mode)
