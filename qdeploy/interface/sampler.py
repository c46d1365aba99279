"""Draws the next token, for the generation loops of backends whose runtime has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.interface.sampling import LogitsProcessor, Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.interface.schema import SchemaMask
HEAD = 1024
"""Tokens that hold nearly all of the probability in almost all places of a text."""
ROWS = 64
"""Of the table that `most_probable` looks for columns in."""


class Sampler:
    """Samples tokens from logits. The same seed and logits give the same tokens.

    The order is schema, penalties and min_p, temperature, top_k, then the fewest tokens whose
    probabilities reach top_p.

    Args:
        prompt_ids: the prompt, whose tokens a repetition penalty counts, too.
        schema: what keeps the answer to a JSON schema.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_ids: Sequence[int] = (),
        schema: SchemaMask | None = None,
    ) -> None:
        import numpy as np

        self._sampling, self._schema = sampling, schema
        self._process = LogitsProcessor(sampling, prompt_ids)
        self._random = np.random.default_rng(sampling.seed)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """Sample the next token from logits [V], which are left as they are."""
        allowed = self._schema.mask(logits) if self._schema else logits
        token = self._draw(self._process(allowed))
        self._process.append(token)
        if self._schema:
            self._schema.append(token)
        return token

    def _draw(self, logits: NDArray[np.float32]) -> int:
        import numpy as np

        if self._sampling.greedy:
            return int(logits.argmax())
        chance = self._random.random()
        if (found := likely(logits, self._sampling, chance)) is not None:
            return found
        tokens, weights = distribution(logits, self._sampling)
        place = int(np.searchsorted(weights.cumsum(), chance, side="right"))
        return int(tokens[min(place, len(weights) - 1)])


def likely(logits: NDArray[np.float32], sampling: Sampling, chance: float) -> int | None:
    """Return the token that *chance*, 0 to 1, draws, if it is among the `HEAD` most probable.

    None where it may be another. Without a top_k the distribution is of the whole vocabulary, whose
    sort takes ten times as long as this.
    """
    import numpy as np

    if sampling.top_k or len(logits) <= HEAD:
        return None
    tokens = most_probable(logits, HEAD)
    highest, temperature = logits[tokens[0]], sampling.temperature
    total = np.exp((logits - highest) / np.float32(temperature)).sum(dtype=np.float64)
    wide = logits[tokens].astype(np.float64) - np.float64(highest)
    sums = (np.exp(wide / temperature) / total).cumsum()
    if sampling.top_p < 1:
        if sums[-1] < sampling.top_p:
            return None
        chance *= sums[np.searchsorted(sums, sampling.top_p)]
    place = int(np.searchsorted(sums, chance, side="right"))
    return int(tokens[place]) if place < len(tokens) else None


def distribution(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tokens that may be drawn, most probable first, and their probabilities.

    The *logits* [V] are those after schema, penalties and min_p; the temperature is above 0.
    """
    import numpy as np

    order = most_probable(logits, sampling.top_k)
    scaled = logits[order].astype(np.float64) / sampling.temperature
    weights = np.exp(scaled - scaled[0])
    weights /= weights.sum()
    weights = weights[weights > 0]  # a schema may allow fewer tokens than top_k
    kept = int(np.searchsorted(weights.cumsum(), sampling.top_p)) + 1
    return order[: len(weights)][:kept], weights[:kept] / weights[:kept].sum()


def most_probable(logits: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The *count* tokens of the highest logits [V], or all for 0; of equal ones the lower id first.

    They are fewer where the logits of others are negative infinity.

    At least *count* columns of a table of the logits reach the bound that is found first, and
    hardly more tokens do. That takes a fraction of the time that a sort of 150 000 takes.
    """
    import numpy as np

    if not 0 < count < len(logits):
        return _descending(logits)
    width = max(count, len(logits) // ROWS)
    tops = logits[: len(logits) // width * width].reshape(-1, width).max(0)
    bound = np.partition(tops, -count)[-count]
    found = np.flatnonzero(logits >= bound if bound > -np.inf else logits > bound)
    return found[_descending(logits[found])][:count]


def _descending(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The places of float32 values, the highest first; of equal ones the lower place is first.

    The bits of a positive float are ordered as it is, those of a negative one the other way round.
    With the place in the lower half of a word no two words are equal, so that NumPy's vectorized
    sort, which is not stable, gives the one order there is.
    """
    import numpy as np

    bits = (values + np.float32(0)).view(np.uint32)  # minus zero equals zero
    falling = np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF))
    words = falling.astype(np.uint64) << np.uint64(32)
    words |= np.arange(len(values), dtype=np.uint64)
    words.sort()
    return (words & np.uint64(0xFFFFFFFF)).astype(np.int64)
