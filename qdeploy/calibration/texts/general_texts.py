"""The project's own texts of many kinds as sequences: `texts/general.jsonl`."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from qdeploy.calibration.texts.encoding import RecordEncoder
from qdeploy.calibration.texts.even import even_order
from qdeploy.calibration.texts.sequences import LENGTH, Sequences, take, windows
from qdeploy.calibration.texts.text_records import read_records
from qdeploy.tokenization.tokenizer import Tokenizer

NAME = "general"
FILE = Path(str(files(__package__))) / "general.jsonl"
"""JSON lines with `kind` and `text` or `messages`."""
SHORTEST_PART = 32
"""Tokens that a record gives at least, if it has them."""


def general_texts(tokenizer: Tokenizer, *, tokens: int, seed: int = 0) -> Sequences:
    """Sequences of up to *tokens* in total, of records that are spread evenly over the file.

    They are as short as it takes for every record to give one: kinds matter more here than long
    contexts, which the other origins have. A chat is plain text for a model without a chat
    template, or whose template does not take it.

    Raises:
        CheckpointError: a file of the tokenizer is malformed.
    """
    encoder, digest = RecordEncoder(tokenizer), hashlib.sha256()
    records = list(read_records(FILE, digest))
    length = min(LENGTH, max(SHORTEST_PART, tokens // len(records)))
    texts = (
        windows(encoder.encode_anyway(records[number]), tokenizer.prefix, length)
        for number in even_order(len(records), seed)
    )
    return Sequences.of(NAME, digest.hexdigest(), take(texts, tokens, each=1))
