"""Check everything that an export reads, except the values of the weights, before it starts."""

from __future__ import annotations

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.weights import check_weights, open_weights


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
    if checkpoint.is_known and checkpoint.decoder.why_not() is None:
        check_weights(checkpoint)
        open_weights(checkpoint).close()
    checkpoint.warnings  # noqa: B018 - reads and checks all that is text
