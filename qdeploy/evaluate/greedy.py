"""How many tokens the greedy continuations of a bundle and its reference have in common.

The bundle goes on from a prompt; the reference then reads prompt and continuation in one pass.
Up to the first token that the reference would not have chosen both have read the same tokens, so
that this one pass finds the very place where the reference's own greedy decoding would part.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from qdeploy.evaluate.reference import Count, Ids, Reference
from qdeploy.evaluate.text import Passage, Text, spread
from qdeploy.interface import Request, Session
from qdeploy.tokenization.tokenizer import Tokenizer

PROMPTS = 8
NEW_TOKENS = 64
TIE = 1e-3
"""Logits that are nearer than this are equally good: other builds of float32 sums differ by less.
The logits are of the order of ten, and the reference is within 1e-4 of transformers' (tests)."""

Continuation = tuple[Ids, Ids]
"""A prompt, and what greedy decoding made of it."""


def continuations(
    session: Session, tokenizer: Tokenizer, text: Text, progress: Count
) -> list[Continuation]:
    """Go on from the beginnings of at most `PROMPTS` passages, for `NEW_TOKENS` tokens at most."""
    stops = tokenizer.stop_ids if text.chat else frozenset[int]()
    chosen: Sequence[Passage] = spread(text.passages, PROMPTS)
    made: list[Continuation] = []
    for number, passage in enumerate(chosen):
        progress(number, len(chosen))
        prompt = passage.ids[: passage.prompt]
        room = min(NEW_TOKENS, session.context - len(prompt) - 1)
        if room > 0:
            request = Request(prompt, room, stop_ids=stops)
            made.append((prompt, tuple(token.id for token in session.generate(request))))
    progress(len(chosen), len(chosen))
    return made


def median_in_common(reference: Reference, made: Sequence[Continuation]) -> float | None:
    """The median over the prompts; None where there is none."""
    lengths = [
        in_common(reference.logits((*prompt, *tokens), len(prompt) - 1)[:-1], tokens)
        for prompt, tokens in made
        if tokens
    ]
    return float(median(lengths)) if lengths else None


def in_common(logits: NDArray[np.float32], tokens: Ids) -> int:
    """How many of *tokens*, [T], come before the first that is not the best by logits [T, V]."""
    chosen = logits[np.arange(len(tokens)), tokens]
    other = logits.max(axis=-1) - chosen > TIE
    return int(other.argmax()) if other.any() else len(tokens)
