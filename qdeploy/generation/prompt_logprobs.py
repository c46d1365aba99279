"""Log-probabilities of the tokens of a prompt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from qdeploy.errors import PromptError
from qdeploy.interface import Session, Token

MOST_BYTES = 2**30
"""Most bytes of logits: a row of the vocabulary for each token, in float32."""


def prompt_logprobs(session: Session, ids: Sequence[int], most: int | None) -> Iterator[Token]:
    """Yield the tokens *ids* with the log-probability of each after those before it.

    Args:
        session: scores the tokens.
        ids: the prompt.
        most: so many of the most probable tokens are told at each place; None tells no
            log-probabilities, and scores nothing.

    Raises:
        PromptError: the session cannot score so many, or the logits take too much memory.
        GenerationFailed: the runtime broke.
    """
    now = time.perf_counter()
    if most is None or len(ids) < 2:
        yield from (Token(each, now) for each in ids)
        return
    check_scored(len(ids), session.limits.vocab_size)
    import numpy as np

    logits = session.score(ids)
    yield Token(ids[0], now)
    for row, token in zip(logits, ids[1:], strict=False):
        values = row.astype(np.float64)
        values -= values.max()
        values -= np.log(np.exp(values).sum())
        best = np.argpartition(-values, range(most))[:most] if most else ()
        told = tuple((int(each), float(values[each])) for each in best)
        yield Token(token, now, logprob=float(values[token]), most_probable=told)


def check_scored(tokens: int, vocab_size: int) -> None:
    """Check that the logits of so many tokens fit in `MOST_BYTES`.

    Raises:
        PromptError: they do not.
    """
    rows = MOST_BYTES // (4 * vocab_size)
    if tokens > rows:
        raise PromptError(
            f"log-probabilities are asked for of a prompt of {tokens} tokens; {rows} fit",
            fix="shorten the prompt, or leave out logprobs",
        )
