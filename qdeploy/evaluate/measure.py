"""All figures of one text: greedy decoding, the reference, scores, held-out questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from qdeploy.errors import GenerationFailed, InputError
from qdeploy.evaluate import greedy, heldout
from qdeploy.evaluate.divergence import Figures, Tally
from qdeploy.evaluate.reference import Reference
from qdeploy.evaluate.text import Text
from qdeploy.interface import Session
from qdeploy.models import HeldOut
from qdeploy.tokenization.tokenizer import Tokenizer

Stages = Callable[[str, int, int], None]
"""Is told a stage's title, and how many of how many steps of it are done."""


@dataclass(frozen=True)
class Measured:
    """Figures of the text; what greedy decoding has in common; percent of held-out answers."""

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
    """Hold a session against a reference.

    Raises:
        InputError: the session cannot hold a passage.
        GenerationFailed: the session broke, or gives logits of another shape or that are no
            numbers.
    """
    longest = max(len(p.ids) for p in text.passages)
    if longest > session.context:
        raise InputError(
            f"a passage of {longest} tokens; the session holds {session.context}",
            where=text.name,
            fix=f"--window {session.context} or less, or a larger --context",
        )
    made = greedy.continuations(session, tokenizer, text, partial(progress, "decoding greedily"))
    passages = [p.ids for p in text.passages] + [(*prompt, *tokens) for prompt, tokens in made]
    reference.prepare(passages, partial(progress, f"{reference.name}, layers"))
    tally = Tally()
    for number, passage in enumerate(text.passages):
        progress("scoring passages", number, len(text.passages))
        start = passage.first - 1
        judged = session.score(passage.ids)[start:-1]
        wanted = reference.logits(passage.ids, start)[:-1]
        if judged.shape != wanted.shape or not np.isfinite(judged).all():
            raise GenerationFailed(
                f"the runtime's logits are {judged.shape}, or not all numbers; wanted are "
                f"{wanted.shape}",
                where=text.name,
            )
        tally.add(wanted, judged, np.array(passage.ids[passage.first :]))
    progress("scoring passages", len(text.passages), len(text.passages))
    in_common = greedy.median_in_common(reference, made)
    exact = None
    if questions:
        answering = partial(progress, "answering held-out questions")
        exact = heldout.exact_match(session, tokenizer, questions, answering)
    return Measured(tally.figures(), in_common, exact)
