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
    """Check that the *content* of a `tokenizer.json` is a tokenizer, its own ids below *size*.

    Ids of added tokens may be larger: see `check.text_warnings`.

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
        raise beyond(token, ids[token], size, where)


def beyond(token: str, number: int, size: int, where: Path) -> CheckpointError:
    """The error for a token that the model has no row of its embedding for."""
    return CheckpointError(
        f"token {token!r} has the id {number}; the model knows {size} tokens", where=where, fix=FIX
    )


def _is_bpe(content: Mapping[str, Any]) -> bool:
    model = content.get("model")
    return isinstance(model, dict) and model.get("type") == "BPE"


def _any(content: Mapping[str, Any]) -> dict[str, int]:
    """Check a tokenizer of any kind; the ids of its own tokens."""
    whole = Tokenizer.from_str(json.dumps(content))
    ids: dict[str, int] = whole.get_vocab(with_added_tokens=False)
    return ids


def _bpe(content: dict[str, Any]) -> dict[str, int]:
    """Check a byte-pair encoding; the ids of its own tokens."""
    model = content["model"]
    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise ValueError("its model has no table 'vocab' or no list 'merges'")
    rest = content | {"model": model | {"vocab": {}, "merges": []}}
    Tokenizer.from_str(json.dumps(rest))
    _check_merges(merges, vocab, model.get("continuing_subword_prefix") or "")
    for token, number in vocab.items():
        if type(number) is not int or not 0 <= number < 2**31:
            raise ValueError(f"token {token!r} has the id {number!r}")
    return vocab


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
