"""Logits of a text from an engine that tells the log-probabilities of its whole vocabulary.

Log-probabilities are logits up to a constant for each row, which no comparison of distributions
sees. vLLM has two ways to tell them. `prompt_logprobs` gives the rows of all places at once, at
some hundred bytes for each number here and there, so it is for texts and vocabularies whose product
is small. Otherwise each row is that of the first new token after one more token of the text, whose
beginning the engine finds in its prefix cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.engines.chunks import BY_ID, is_number, token_id
from qdeploy.engines.client import EngineClient
from qdeploy.engines.faults import garbage
from qdeploy.errors import GenerationFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AT_ONCE = 2**20
"""Numbers of one answer: rows times vocabulary."""
BYTES_EACH = 200
"""Most bytes of one in JSON: the token's id and text, its rank, its log-probability."""
ALL = -1
"""vLLM's word for the whole vocabulary."""


def score(
    client: EngineClient, body: Mapping[str, Any], token_ids: Sequence[int], vocab_size: int
) -> NDArray[np.float32]:
    """Return the log-probabilities of the token after each, float32 [T, V].

    The *body* is what every request to /completions has, the model's name above all.

    Raises:
        InputError: the engine is not willing to tell those of its whole vocabulary.
        GenerationFailed: it tells those of some tokens only, or fails.
    """
    import numpy as np

    rows = len(token_ids)
    first = max(0, rows - 1) if rows * vocab_size <= AT_ONCE else 0
    return np.concatenate(
        [
            _rows_through(client, body, token_ids[: end + 1], vocab_size, whole=first > 0)
            for end in range(first, rows)
        ]
    )


def _rows_through(
    client: EngineClient,
    body: Mapping[str, Any],
    token_ids: Sequence[int],
    vocab_size: int,
    *,
    whole: bool,
) -> NDArray[np.float32]:
    """Return the row after the last token, and if *whole* those after all before it."""
    import numpy as np

    request = {
        **body,
        "prompt": list(token_ids),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": ALL,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    if whole:
        request["prompt_logprobs"] = ALL
    where = f"{client.address.api}/completions"

    def read(found: dict[str, Any]) -> Any:
        """Make numbers and rows of the innermost objects, so that memory holds little else."""
        if is_number(found.get("logprob")):
            return float(found["logprob"])
        first = next(iter(found), "")
        if first.isdecimal() or first.startswith(BY_ID):
            return _row(found, vocab_size, where)
        return found

    most = (len(token_ids) if whole else 1) * vocab_size * BYTES_EACH + 1_000_000
    answer = client.complete_whole(request, most_bytes=most, object_hook=read)
    try:
        choice = answer["choices"][0]
        prompt = choice["prompt_logprobs"][1:] if whole else []
        found = [*prompt, choice["logprobs"]["top_logprobs"][0]]
    except (LookupError, TypeError):
        raise garbage(where, "no log-probabilities where they were asked for") from None
    expected = len(token_ids) if whole else 1
    if len(found) != expected or not all(isinstance(row, np.ndarray) for row in found):
        raise garbage(where, f"log-probabilities of other than {expected} places")
    return np.stack(found)


def _row(found: Mapping[str, Any], vocab_size: int, where: str) -> NDArray[np.float32]:
    import numpy as np

    if len(found) != vocab_size:
        raise GenerationFailed(
            f"the engine tells log-probabilities of {len(found)} tokens of {vocab_size}",
            where=where,
            fix="score with an engine that tells all, e.g. vLLM with --max-logprobs -1",
        )
    row = np.full(vocab_size, np.nan, np.float32)
    for name, logprob in found.items():
        place = int(name) if name.isdecimal() else token_id(name, where)
        if place >= vocab_size or not is_number(logprob):
            raise garbage(where, f"the log-probability of token {name[:40]}")
        row[place] = logprob
    if np.isnan(row).any():
        raise garbage(where, "log-probabilities that name a token twice")
    return row
