"""Measure all figures of one text: KL divergence, greedy decoding, held-out questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from qdeploy.errors import InputError
from qdeploy.evaluate.divergence import Figures, Tally
from qdeploy.evaluate.greedy import generate_continuations, median_common_tokens
from qdeploy.evaluate.heldout import exact_match
from qdeploy.evaluate.logits import check_logits
from qdeploy.evaluate.reference import Reference
from qdeploy.evaluate.text import Text
from qdeploy.interface import Session
from qdeploy.models import HeldOut
from qdeploy.tokenization.tokenizer import Tokenizer

Stages = Callable[[str, int, int], None]
"""Called with the title of a stage, the steps of it that are done, and all its steps."""


@dataclass(frozen=True)
class Measured:
    """Figures of one text.

    Attributes:
        first_divergence: median length of the common prefix of greedy decoding, in tokens.
        exact_match: percentage of held-out questions answered exactly, by mode.
    """

    figures: Figures
    first_divergence: float | None
    exact_match: dict[str, float] | None


def measure(
    session: Session,
    tokenizer: Tokenizer,
    reference: Reference,
    text: Text,
    questions: Sequence[HeldOut],
    progress: Stages,
) -> Measured:
    """Compare a session with a reference.

    Raises:
        InputError: a passage is longer than the session's context.
        GenerationFailed: the session failed, or its logits have another shape or are not finite.
    """
    longest = max(len(p.ids) for p in text.passages)
    if longest > session.context:
        raise InputError(
            f"a passage of {longest} tokens; the session holds {session.context}",
            where=text.name,
            fix=f"--window {session.context} or less, or a larger --context",
        )
    continuations = generate_continuations(
        session, tokenizer, text, partial(progress, "decoding greedily")
    )
    passages = [p.ids for p in text.passages] + [
        (*prompt, *tokens) for prompt, tokens in continuations
    ]
    reference.prepare(passages, partial(progress, f"{reference.name}, layers"))
    tally = Tally()
    for number, passage in enumerate(text.passages):
        progress("scoring passages", number, len(text.passages))
        start = passage.first - 1
        logits = session.score(passage.ids)[start:-1]
        expected = reference.logits(passage.ids, start)[:-1]
        check_logits(logits, expected, where=text.name)
        tally.add(expected, logits, np.array(passage.ids[passage.first :]))
    progress("scoring passages", len(text.passages), len(text.passages))
    common = median_common_tokens(reference, continuations)
    exact = None
    if questions:
        answering = partial(progress, "answering held-out questions")
        exact = exact_match(session, tokenizer, questions, answering)
    return Measured(tally.figures(), common, exact)
