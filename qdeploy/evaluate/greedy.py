"""Length of the common prefix of the greedy decoding of a bundle and its reference.

The bundle decodes a continuation; the reference scores prompt and continuation in one pass. Up to
the first token that is not the reference's most likely one, both models have read the same tokens.
One pass therefore finds exactly where the reference's own greedy decoding would diverge.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from qdeploy.evaluate.reference import Count, Ids, Reference
from qdeploy.evaluate.text import Passage, Text, spread_evenly
from qdeploy.interface import Request, Session
from qdeploy.tokenization.tokenizer import Tokenizer

PROMPTS = 8
NEW_TOKENS = 64
TIE = 1e-3
"""Logits that differ by less are ties: float32 sums of different builds differ by up to this much.
Logits are of the order of 10, and the reference is within 1e-4 of transformers' (tests)."""

Continuation = tuple[Ids, Ids]
"""A prompt and its greedy continuation."""


def generate_continuations(
    session: Session, tokenizer: Tokenizer, text: Text, progress: Count
) -> list[Continuation]:
    """Decode at most `NEW_TOKENS` tokens after the prompts of at most `PROMPTS` passages."""
    stops = tokenizer.stop_ids if text.chat else frozenset[int]()
    passages: Sequence[Passage] = spread_evenly(text.passages, PROMPTS)
    continuations: list[Continuation] = []
    for number, passage in enumerate(passages):
        progress(number, len(passages))
        prompt = passage.ids[: passage.prompt]
        room = min(NEW_TOKENS, session.context - len(prompt) - 1)
        if room > 0:
            request = Request(prompt, room, stop_ids=stops)
            continuations.append((prompt, tuple(token.id for token in session.generate(request))))
    progress(len(passages), len(passages))
    return continuations


def median_common_tokens(
    reference: Reference, continuations: Sequence[Continuation]
) -> float | None:
    """The median of `common_tokens` over the prompts; None without prompts."""
    lengths = [
        common_tokens(reference.logits((*prompt, *tokens), len(prompt) - 1)[:-1], tokens)
        for prompt, tokens in continuations
        if tokens
    ]
    return float(median(lengths)) if lengths else None


def common_tokens(logits: NDArray[np.float32], tokens: Ids) -> int:
    """Number of *tokens*, [T], before the first that is not the most likely by logits [T, V]."""
    own = logits[np.arange(len(tokens)), tokens]
    differs = logits.max(axis=-1) - own > TIE
    return int(differs.argmax()) if differs.any() else len(tokens)
