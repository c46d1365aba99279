"""Check everything that an export reads, except the values of the weights, before it starts."""

from __future__ import annotations

from pathlib import Path

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.errors import CheckpointError
from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.tokenizer import Tokenizer
from qdeploy.tokenization.tokenizer_file import TOKENIZER_FILE
from qdeploy.tokenization.vocabulary import check_vocabulary


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
    folder = checkpoint.folder
    if checkpoint.is_known and checkpoint.decoder.why_not() is None:
        check_weights(checkpoint)
        open_weights(checkpoint).close()
    size = checkpoint.config.vocab_size if checkpoint.is_known else None
    _check_stop_tokens(folder, size)
    find_chat_template(folder)
    check_vocabulary(folder / TOKENIZER_FILE, size=size)


def _check_stop_tokens(folder: Path, size: int | None) -> None:
    beyond = [i for i in Tokenizer(folder).generation_config.stop_ids if size and i >= size]
    if beyond:
        raise CheckpointError(
            f"eos_token_id: {beyond[0]}; the vocabulary has {size} tokens",
            where=folder / "generation_config.json",
            fix="take generation_config.json and config.json from the same model",
        )
