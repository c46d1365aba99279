"""The `tokenizer.json` of a checkpoint, checked before an export.

The library that reads it takes 100 MB for Qwen3's and does not give them back, as much as all of an
export. So the tables of a BPE are checked here, and the library is shown the rest of the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from tokenizers import Tokenizer

from qdeploy.errors import CheckpointError
from qdeploy.strict import fault
from qdeploy.tensors import read_json

FIX = "take tokenizer.json and config.json from one and the same model"

Id = Annotated[int, Field(strict=True, ge=0, lt=2**31)]


class _Table(BaseModel):
    vocab: dict[str, Id]
    merges: list[tuple[str, str] | str]
    continuing_subword_prefix: str | None = None


class _Added(BaseModel):
    id: Id
    content: str


class _BPE(BaseModel):
    model: _Table
    added_tokens: list[_Added] = []


def check(file: Path, *, size: int | None) -> None:
    """Check that *file* is a tokenizer whose ids are all below *size*, where that is given.

    Raises:
        CheckpointError: it is not, with the key or the token.
    """
    content = read_json(file)
    try:
        tokens = _bpe(content) if _is_bpe(content) else _any(content)
    except ValidationError as error:
        key, complaint = fault(error)
        raise CheckpointError(f"not a tokenizer: {key}: {complaint}", where=file, fix=FIX) from None
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"not a tokenizer ({error})", where=file, fix=FIX) from None
    token, highest = max(tokens, key=lambda pair: pair[1], default=("", 0))
    if size is not None and highest >= size:
        raise CheckpointError(
            f"token {token!r} has the id {highest}; the model knows {size} tokens",
            where=file,
            fix=FIX,
        )


def _is_bpe(content: dict[str, Any]) -> bool:
    model = content.get("model")
    return isinstance(model, dict) and model.get("type") == "BPE"


def _any(content: dict[str, Any]) -> list[tuple[str, int]]:
    """Check a tokenizer of any kind; all tokens and their ids."""
    vocab: dict[str, int] = Tokenizer.from_str(json.dumps(content)).get_vocab()
    return list(vocab.items())


def _bpe(content: dict[str, Any]) -> list[tuple[str, int]]:
    """Check a byte-pair encoding; all tokens and their ids."""
    known = _BPE.model_validate(content)
    vocab = known.model.vocab
    _check_merges(known.model)
    rest = content["model"] | {"vocab": {}, "merges": []}
    Tokenizer.from_str(json.dumps(content | {"model": rest}))
    return [*vocab.items(), *((token.content, token.id) for token in known.added_tokens)]


def _check_merges(table: _Table) -> None:
    """Check that parts and results of merges are tokens.

    Raises:
        ValueError: one is not, or a merge is no pair.
    """
    vocab, merges, prefix = table.vocab, table.merges, table.continuing_subword_prefix or ""
    if len(set(map(type, merges))) > 1:
        raise ValueError("some of its merges are pairs, and some are text")
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not parts[1].startswith(prefix):
            raise ValueError(f"its merge {merge!r} is no pair")
        left, right = parts
        whole = left + right[len(prefix) :]
        if not (left in vocab and right in vocab and whole in vocab):
            unknown = next(token for token in (left, right, whole) if token not in vocab)
            raise ValueError(f"its merges are of {unknown!r}, which is no token")
