"""The tokenizer and its special ids, as runtimes with a tokenizer of their own are told them."""

from __future__ import annotations

from dataclasses import dataclass

from qdeploy.tokenization.stop_tokens import stop_tokens
from qdeploy.tokenization.text_files import TextFiles
from qdeploy.tokenization.tokenizer_file import TokenizerDescription


@dataclass(frozen=True)
class RuntimeTokens:
    """Ids that begin, end and pad a text.

    Attributes:
        begin, padding: None where the tokenizer has no such token.
        ends: the stop tokens, first the one that a runtime is told that takes only one.
    """

    begin: int | None
    ends: tuple[int, ...]
    padding: int | None


def runtime_tokens(files: TextFiles, described: TokenizerDescription) -> RuntimeTokens:
    """The ids of a model; its stop tokens are those that `qdeploy run` has.

    Raises:
        CheckpointError: a file is malformed.
    """
    ends = stop_tokens(files, described.eos_id).ids
    first = sorted(ends, key=lambda number: number != described.eos_id)
    return RuntimeTokens(described.id_of("bos_token"), tuple(first), described.id_of("pad_token"))
