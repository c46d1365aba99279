"""Find the checkpoint directory of a model: embedded, a directory, or downloaded from the hub."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from qdeploy import models
from qdeploy.checkpoint.checkpoint import SIDECARS, Checkpoint, read_checkpoint
from qdeploy.errors import CheckpointError, HubError, did_you_mean

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = [*SIDECARS, "*.safetensors", "model.safetensors.index.json"]
"""Files to download; never pickles or code."""


def resolve(model: str, *, adapter: Path | None = None) -> Checkpoint:
    """Find and describe the checkpoint that *model* names, downloading it if necessary.

    *adapter*: folder of a LoRA adapter (PEFT) that is merged into its weights.

    Raises:
        CheckpointError: there is no such checkpoint, or it is invalid.
        InputError: the adapter is none that can be merged.
        HubError: the hub could not be reached.
    """
    folder = locate(model)
    by_name = model in models.EMBEDDED or folder is None
    return read_checkpoint(
        folder or download(model), name=model if by_name else None, adapter=adapter
    )


def locate(model: str) -> Path | None:
    """The local directory that *model* names, or None for a hub id. Downloads nothing.

    Raises:
        CheckpointError: *model* is neither a directory nor an embedded model nor a valid hub id.
    """
    if model in models.EMBEDDED:
        return models.path(model)
    folder = os.path.expanduser(model)  # os.path returns False for an invalid path; pathlib raises
    if os.path.isdir(folder):
        return _named(Path(folder))
    if os.path.exists(folder):
        raise CheckpointError(
            "a file, not a checkpoint directory", where=model, fix="give the folder that holds it"
        )
    if _is_out_of_reach(folder):
        raise CheckpointError("cannot be read (Permission denied)", where=model)
    if HUB_ID.fullmatch(model):
        return None
    raise CheckpointError(
        f"no directory, embedded model or hub id is called {model!r}",
        fix=did_you_mean(model, models.EMBEDDED),
    )


def _named(folder: Path) -> Path:
    """Return *folder*, whose name becomes the model's; CheckpointError if it is not UTF-8."""
    try:
        folder.resolve().name.encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            "the folder's name is not UTF-8 text", where=folder, fix="rename it"
        ) from None
    return folder


def _is_out_of_reach(path: str) -> bool:
    """Whether a parent directory denies access to *path*."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):  # the path does not exist or is invalid
        pass
    return False


def download(hub_id: str) -> Path:
    """Download a checkpoint from the Hugging Face hub into its cache, and return the directory."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(hub_id, allow_patterns=FILES))
    except GatedRepoError:
        raise CheckpointError(
            "the hub wants you to accept this model's terms", where=hub_id, fix="hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            "no directory here and no such model on the hub",
            where=hub_id,
            fix="check the spelling; for a private model: hf auth login",
        ) from None
    except HFValidationError as error:
        raise CheckpointError(f"no directory here and no hub id ({error})", where=hub_id) from None
    except Exception as error:  # the HTTP library, and so its errors, differ between hub releases
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HubError(
                "the disk is full", where=hub_id, fix="free space, or set HF_HOME to another disk"
            ) from None
        raise HubError(
            f"the model hub could not be reached ({type(error).__name__})",
            where=hub_id,
            fix="check the network or proxy, or give the folder of a checkpoint on disk",
        ) from error
