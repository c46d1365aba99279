"""Describe the checkpoint of a model: embedded, a directory, or downloaded from the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdeploy.architectures.task import TaskName
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.front_matter import CARD
from qdeploy.checkpoint.hub_errors import explain
from qdeploy.checkpoint.published.catalogue import Published, find_published
from qdeploy.checkpoint.published.names import published_ids
from qdeploy.checkpoint.read import read_checkpoint, with_task
from qdeploy.checkpoint.recognition.model_names import locate
from qdeploy.checkpoint.recognition.recognize import why_not_a_folder
from qdeploy.checkpoint.task import TASK_FILES
from qdeploy.checkpoint.weight_files import INDEX, weight_files
from qdeploy.errors import HubError, QdeployError
from qdeploy.tokenization.text_files import TEXT_FILES, TOKENIZER_FILE

FILES = [*TEXT_FILES, "*.safetensors", INDEX, "adapter_config.json", *TASK_FILES, CARD]
"""Files to download; never pickles or code. An adapter's config says which model it is for, and the
card which license and which task the model has."""


def resolve(model: str, *, adapter: Path | None = None, task: TaskName | None = None) -> Checkpoint:
    """Find and describe the checkpoint that *model* names, downloading it if necessary.

    Args:
        model: a name, a directory or a hub id.
        adapter: folder of a LoRA adapter (PEFT) that is merged into its weights.
        task: what it is for; None finds that in its files.

    Raises:
        CheckpointError: there is no such checkpoint, or it is invalid.
        InputError: the adapter is none that can be merged.
        HubError: the hub could not be reached.
    """
    name, folder = locate(model)
    return read_checkpoint(folder or download(name), name=name, adapter=adapter, task=task)


def find_published_here(model: str) -> Published | None:
    """The published checkpoint that *model* names, unless a directory or embedded model does.

    Raises:
        CheckpointError: *model* names no model, or something else.
    """
    name, folder = locate(model)
    return find_published(name) if folder is None else None


def describe(model: str, *, task: TaskName | None = None) -> Checkpoint:
    """Describe *model*: embedded, a directory, published, or downloaded, tried in this order.

    *task* is what it is for; None is what its files or its name say.

    Raises:
        CheckpointError: there is no such checkpoint, or it is invalid.
        HubError: the model must be downloaded, and the hub could not be reached.
    """
    if described := find_published_here(model):
        return with_task(described, task) if task else described
    with naming_published():
        return resolve(model, task=task)


@contextmanager
def naming_published() -> Iterator[None]:
    """Add the published models, which need no hub, to the error of a hub that cannot be reached."""
    try:
        yield
    except HubError as error:
        others = "plan for one of these: " + ", ".join(published_ids())
        raise HubError(error.what, where=error.where, fix=f"{error.fix}; or {others}") from error


def download(hub_id: str) -> Path:
    """Download a checkpoint from the Hugging Face hub into its cache, and return the directory.

    Raises:
        CheckpointError: there is no such model, or its files are not those of a checkpoint.
        HubError: the hub could not be reached, and the cache has not all of the model.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=FILES))
    except Exception as error:  # the HTTP library, and so its errors, differ between hub releases
        raise explain(hub_id, error) from error
    missing = _missing(folder)
    if missing and (incomplete := _why_incomplete(hub_id, folder, missing)):
        raise incomplete
    return folder


def _missing(folder: Path) -> str | None:
    """The first file that every checkpoint has, or this one's index names, and *folder* has not."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if not any(folder.glob("*.safetensors")):
        return "*.safetensors"
    if not any((folder / name).is_file() for name in (TOKENIZER_FILE, "vocab.json")):
        return TOKENIZER_FILE
    files = weight_files(folder) if (folder / INDEX).is_file() else []
    return next((file for file in files if not (folder / file).is_file()), None)


def _why_incomplete(hub_id: str, folder: Path, missing: str) -> QdeployError | None:
    """The error for a download without the *missing* file.

    None where the hub has no such file and reading the checkpoint says what to do.
    """
    from huggingface_hub import HfApi

    try:
        names = [file.rfilename for file in HfApi().model_info(hub_id).siblings or ()]
    except Exception as error:
        unreachable = explain(hub_id, error)
        return HubError(
            f"the hub's cache has no {missing} of it, and {unreachable.what}",
            where=hub_id,
            fix=unreachable.fix,
        )
    if missing == TOKENIZER_FILE:
        return None
    return why_not_a_folder(folder, missing, hub_id=hub_id, names=names)
