"""Check everything that an export reads, except the values of the weights, before it starts."""

from __future__ import annotations

from qdeploy.checkpoint.adapters import CONFIG, WEIGHTS
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.recognition.recognize import shell
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.errors import CheckpointError


def check(checkpoint: Checkpoint) -> None:
    """Check the tensors, the adapter, the tokenizer and the generation settings.

    For an unknown architecture, the tensors and the size of the vocabulary are not checked. A
    checkpoint that is not on this machine has no files to check.

    Raises:
        CheckpointError: a file is invalid, or inconsistent with another file.
        InputError: the adapter does not fit the checkpoint.
    """
    if not checkpoint.is_here:
        return
    _check_no_other_adapter(checkpoint)
    if checkpoint.is_known and checkpoint.decoder.why_not() is None:
        check_weights(checkpoint)
        open_weights(checkpoint).close()
    checkpoint.warnings  # noqa: B018 - reads and checks all that is text


def _check_no_other_adapter(checkpoint: Checkpoint) -> None:
    """Refuse a model with an adapter in its folder, unless it was said which counts.

    Transformers merges such an adapter where PEFT is installed and ignores it where not, and the
    weights may have it merged already.
    """
    folder = checkpoint.folder
    if checkpoint.adapter or not all((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
        return
    raise CheckpointError(
        f"the folder holds a model and an adapter ({WEIGHTS})",
        where=folder,
        fix=f"--adapter {shell(folder)} to merge it; or move {CONFIG} away, if the weights have it "
        "merged already",
    )
