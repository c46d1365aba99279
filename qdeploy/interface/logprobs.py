"""Log-probabilities of tokens, for backends that see the logits of each of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qdeploy.interface.sampler import most_probable
from qdeploy.interface.session import Request, Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_LOGPROBS = 20
"""As many as OpenAI's API tells at each place."""


def token_of(request: Request, token_id: int, logits: NDArray[np.float32] | None) -> Token:
    """Return a token made just now, with the log-probabilities that the request asks for.

    The *logits* [V] are the model's own, before penalties, temperature and schema. They are read
    only if the request asks.
    """
    now = time.perf_counter()
    if request.logprobs is None or logits is None:
        return Token(token_id, now)
    logprob, others = log_probabilities(logits, token_id, request.logprobs)
    return Token(token_id, now, logprob=logprob, most_probable=others)


def log_probabilities(
    logits: NDArray[np.float32], token_id: int, count: int
) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Return the log-probability of a token, and the *count* most probable ones with theirs.

    By the softmax of *logits* [V], in nats.
    """
    import numpy as np

    highest = logits.max()
    shifted = logits - highest
    np.exp(shifted, out=shifted)
    total = float(highest) + float(np.log(shifted.sum()))
    best = most_probable(logits, count) if count else ()
    found = tuple((int(i), float(logits[i]) - total) for i in best)
    return float(logits[token_id]) - total, found
