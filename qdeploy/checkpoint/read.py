"""Reads the description of a checkpoint from its files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from qdeploy.architectures.task import TaskName
from qdeploy.checkpoint.adapters import Model, merge_adapter
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.config_file import read_config
from qdeploy.checkpoint.recognition.damage import check_fetched, check_links
from qdeploy.checkpoint.recognition.recognize import why_not_a_folder
from qdeploy.checkpoint.task import find_task, usual_task
from qdeploy.checkpoint.weight_files import (
    INDEX,
    check_named_file,
    file_warnings,
    read_tensors,
    weight_files,
)
from qdeploy.errors import CheckpointError
from qdeploy.tokenization.slow_tokenizer import check_tokenizer_is_there
from qdeploy.tokenization.text_files import find_text_files


def with_adapter(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The same checkpoint with the adapter in *folder* merged into its weights.

    The config follows an adapter that changes the vocabulary, or unties lm_head and embedding.

    Raises:
        CheckpointError: a file of the adapter is missing or invalid.
        InputError: it cannot be merged, or does not fit.
    """
    model = Model(
        checkpoint.name,
        checkpoint.folder,
        checkpoint.config,
        checkpoint.merged,
        checkpoint.described,
        checkpoint.head,
        checkpoint.is_tied,
    )
    adapter = merge_adapter(folder, model)
    config = checkpoint.config.model_copy(update=adapter.changes)
    return replace(checkpoint, config=config, adapter=adapter, base=checkpoint)


def with_task(checkpoint: Checkpoint, task: TaskName) -> Checkpoint:
    """The same checkpoint for *task*, made as Qwen3-Embedding and Qwen3-Reranker are.

    It is for checkpoints whose files are not here; `read_checkpoint` reads the details of the task.
    """
    return replace(checkpoint, task=usual_task(task))


def read_checkpoint(
    folder: Path,
    *,
    name: str | None = None,
    adapter: Path | None = None,
    task: TaskName | None = None,
) -> Checkpoint:
    """Describe the checkpoint in *folder*, and the adapter in the folder *adapter* with it.

    *task* is what it is for; None finds that in its files.

    Raises:
        CheckpointError: a file is missing or invalid; the error names it.
        InputError: the adapter is none that can be merged.
    """
    if not folder.is_dir():
        raise CheckpointError("no such directory", where=folder)
    if not os.path.lexists(folder / "config.json"):
        raise why_not_a_folder(folder, "config.json")
    check_links(folder)
    check_fetched((*find_text_files(folder).paths.values(), folder / INDEX))
    weight_files(folder)  # first: of a model in another format, no other file needs to fit
    file = read_config(folder / "config.json")
    check_tokenizer_is_there(find_text_files(folder))
    name = name or folder.resolve().name
    purpose = find_task(folder, name, file.raw, asked=task, adapter=adapter)
    check_named_file(file.raw.get("transformers_weights"), folder)
    tensors = read_tensors(folder)
    decided = (*file.warnings, *file_warnings(folder, tensors), *purpose.warnings)
    found = Checkpoint(name, folder, file.config, tensors, decided=decided, task=purpose.task)
    found = found.untied_if_stored_so()
    return with_adapter(found, adapter) if adapter else found
