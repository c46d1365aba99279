"""Checks the tokenizer of a checkpoint before an export.

The tokenizers library takes 100 MB for Qwen3's file and does not free them, as much as the rest of
an export. So the tables of a BPE are checked here, and the library checks the file without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.tokenizer_file import FIX


def check_vocabulary(content: dict[str, Any], where: Path, *, size: int | None) -> None:
    """Check that the *content* of a `tokenizer.json` is a tokenizer, with ids below *size*.

    Args:
        content: as `read_tokenizer` gives it.
        where: its file, for messages.
        size: the number of tokens that the model knows; None leaves the ids unchecked.

    Raises:
        CheckpointError: it is not; names the token, or has the library's message.
    """
    try:
        ids = _bpe(content) if _is_bpe(content) else _any(content)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"not a tokenizer ({error})", where=where, fix=FIX) from None
    token = max(ids, key=ids.__getitem__, default=None)
    if token is not None and size is not None and ids[token] >= size:
        raise CheckpointError(
            f"token {token!r} has the id {ids[token]}; the model knows {size} tokens",
            where=where,
            fix=FIX,
        )


def _is_bpe(content: Mapping[str, Any]) -> bool:
    model = content.get("model")
    return isinstance(model, dict) and model.get("type") == "BPE"


def _any(content: Mapping[str, Any]) -> dict[str, int]:
    """Check a tokenizer of any kind; the ids of its tokens."""
    ids: dict[str, int] = Tokenizer.from_str(json.dumps(content)).get_vocab()
    return ids


def _bpe(content: dict[str, Any]) -> dict[str, int]:
    """Check a byte-pair encoding; the ids of its tokens."""
    model = content["model"]
    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise ValueError("its model has no table 'vocab' or no list 'merges'")
    rest = content | {"model": model | {"vocab": {}, "merges": []}}
    Tokenizer.from_str(json.dumps(rest))
    _check_merges(merges, vocab, model.get("continuing_subword_prefix") or "")
    ids = vocab | {token["content"]: token["id"] for token in content["added_tokens"]}
    for token, number in ids.items():
        if type(number) is not int or not 0 <= number < 2**31:
            raise ValueError(f"token {token!r} has the id {number!r}")
    return ids


def _check_merges(merges: list[Any], vocab: Mapping[str, int], prefix: str) -> None:
    """Check that parts and results of *merges* are tokens; *prefix* is cut off the second part.

    Raises:
        ValueError: one is not, or a merge is no pair.
    """
    if set(map(type, merges)) not in ({list}, {str}, set()):
        raise ValueError("its merges are neither all pairs nor all text")
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2:
            raise ValueError(f"its merge {merge!r} is no pair")
        left, right = parts
        if left in vocab and right in vocab and right.startswith(prefix):
            if (whole := left + right[len(prefix) :]) not in vocab:
                raise ValueError(f"its merge {merge!r} makes {whole!r}, which is no token")
        else:
            raise ValueError(f"its merge {merge!r} is not of two tokens")
