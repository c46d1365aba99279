"""The user's own texts as sequences: `--calibration FILE`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qdeploy.calibration.texts.encoding import RecordEncoder
from qdeploy.calibration.texts.even import EvenSample, even_order
from qdeploy.calibration.texts.sequences import SHORTEST, Ids, Sequences, take, windows
from qdeploy.calibration.texts.text_records import KINDS, Record, read_records
from qdeploy.errors import InputError
from qdeploy.tokenization.tokenizer import Tokenizer

ADVISED = 16_384
"""Tokens that a file should have."""
FEW = 4096
"""Tokens below which there is a warning."""
FEWEST = 512
"""Tokens below which a file is refused."""
DISTINCT = 16
"""Different tokens below which a file is refused. Inputs of a layer that are a few vectors, again
and again, say nothing about all other directions of its weights."""
HELD_BYTES = 64 * 2**20
"""Memory for records that are chosen from: many times what calibration takes of them."""


@dataclass(frozen=True)
class UserTexts:
    """What a user's file gave.

    Attributes:
        warnings: each one sentence.
    """

    sequences: Sequences
    warnings: tuple[str, ...]


def user_texts(file: Path, tokenizer: Tokenizer, *, tokens: int, seed: int = 0) -> UserTexts:
    """Make sequences of a file, up to *tokens* in total.

    The file holds JSON lines, each with `messages` or `text`, or plain text. Of a file with more,
    records are taken that are spread evenly over it; *seed* decides which. A file of any size is
    read once, in bounded memory.

    Raises:
        InputError: the file cannot be read, a line is malformed, or there is too little text.
        CheckpointError: a file of the tokenizer is malformed.
    """
    encoder, digest = RecordEncoder(tokenizer), hashlib.sha256()
    sample = EvenSample[Record](HELD_BYTES)
    for record in read_records(file, digest):
        if record.text is None:
            encoder.check(record)
        elif not record.text.strip():
            continue
        sample.add(record, record.size)
    if not sample.items:
        raise InputError("has no text", where=file, fix=f"write one object a line: {KINDS}")
    texts = (
        windows(encoder.encode(sample.items[number]), tokenizer.prefix)
        for number in even_order(len(sample.items), seed)
    )
    ids = take(texts, tokens)
    _check(file, ids, tokens)
    found = Sequences.of(file.name, digest.hexdigest(), ids)
    warnings = []
    if found.tokens < min(FEW, tokens):
        warnings.append(f"{file} has {found.tokens:,} tokens; {ADVISED:,} are advised")
    return UserTexts(found, tuple(warnings))


def _check(file: Path, ids: list[Ids], tokens: int) -> None:
    total = sum(map(len, ids))
    if total < min(FEWEST, tokens):
        raise InputError(
            f"too little text: {total} tokens in different sequences of {SHORTEST} and more; at "
            f"least {FEWEST} are needed, and {ADVISED:,} advised",
            where=file,
            fix="add texts or chats like those that the model will be used for",
        )
    distinct = len({token for one in ids for token in one})
    if distinct < DISTINCT:
        raise InputError(
            f"the same {distinct} tokens again and again; at least {DISTINCT} different ones are "
            "needed",
            where=file,
            fix="give texts or chats like those that the model will be used for",
        )
