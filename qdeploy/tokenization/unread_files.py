"""Files of a tokenizer that are not read beside a newer one, compared with that one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qdeploy.tokenization.added_tokens import some
from qdeploy.tokenization.slow_tokenizer import merge_lines
from qdeploy.tokenization.special_tokens import EXTRA, LISTED, OLD_EXTRA, token_text
from qdeploy.tokenization.text_files import (
    ADDED_TOKENS_FILE,
    MERGES_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    TextFiles,
)
from qdeploy.tokenization.tokenizer_file import TokenizerDescription


def unread_file_warnings(files: TextFiles, described: TokenizerDescription) -> Iterator[str]:
    """Warnings about unread files that say something else than those that are read.

    Raises:
        CheckpointError: one is malformed.
    """
    if files.has(TOKENIZER_FILE):
        yield from _slow(files, described.content["model"], described.added_ids)
    if LISTED in files.json(TOKENIZER_CONFIG_FILE):
        yield from _older(files, described.added_ids)


def _slow(files: TextFiles, model: Mapping[str, Any], added: Mapping[str, int]) -> Iterator[str]:
    vocab = files.json(VOCAB_FILE)
    ids = {**model["vocab"], **added} if isinstance(model["vocab"], dict) else {}
    if vocab and ids:
        other = {text for text, number in vocab.items() if ids.get(text) != number}
        other |= model["vocab"].keys() - vocab.keys() - added.keys()
        if other:
            yield _ignored(VOCAB_FILE, TOKENIZER_FILE, f"about {some(other)}")
    if files.has(MERGES_FILE) and "merges" in model:
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        if merge_lines(files) != merges:
            yield _ignored(MERGES_FILE, TOKENIZER_FILE, "about the merges")


def _older(files: TextFiles, added: Mapping[str, int]) -> Iterator[str]:
    older = files.json(ADDED_TOKENS_FILE)
    if other := [text for text, number in older.items() if added.get(text) != number]:
        yield _ignored(ADDED_TOKENS_FILE, TOKENIZER_CONFIG_FILE, f"about {some(other)}")
    special = files.json(SPECIAL_TOKENS_FILE)
    lists = [special[key] for key in (EXTRA, OLD_EXTRA) if isinstance(special.get(key), list)]
    texts = {token_text(token) for tokens in lists for token in tokens}
    if unknown := {text for text in texts if text is not None and text not in added}:
        yield _ignored(SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, f"about {some(unknown)}")


def _ignored(file: str, read: str, what: str) -> str:
    return f"{file} and {read} disagree {what}: {read} is read, as in transformers"
