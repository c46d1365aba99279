"""The `tokenizer.json` of a checkpoint, checked before an export.

The library that reads it takes 100 MB for Qwen3's and does not give them back, as much as all of an
export. So the tables of a BPE are checked here, and the library is shown the rest of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    if not isinstance(model, dict) or model.get("type") != "BPE":
        return False
    return not model.get("continuing_subword_prefix")  # with one, merges are spelt in another way


def _any(content: dict[str, Any]) -> list[tuple[str, int]]:
    """Check a tokenizer of any kind; all tokens and their ids."""
    vocab: dict[str, int] = Tokenizer.from_str(json.dumps(content)).get_vocab()
    return list(vocab.items())


def _bpe(content: dict[str, Any]) -> list[tuple[str, int]]:
    """Check a byte-pair encoding; all tokens and their ids."""
    known = _BPE.model_validate(content)
    vocab = known.model.vocab
    if unknown := next(_unknown(known.model), None):
        raise ValueError(f"its merges are of {unknown!r}, which is no token")
    rest = content["model"] | {"vocab": {}, "merges": []}
    Tokenizer.from_str(json.dumps(content | {"model": rest}))
    return [*vocab.items(), *((token.content, token.id) for token in known.added_tokens)]


def _unknown(table: _Table) -> Iterator[str]:
    """Parts and results of merges that the vocabulary does not have."""
    vocab = table.vocab
    for pair in table.merges:
        left, _, right = pair.partition(" ") if isinstance(pair, str) else (pair[0], "", pair[1])
        if not (left in vocab and right in vocab and left + right in vocab):
            yield next(text for text in (left, right, left + right) if text not in vocab)
