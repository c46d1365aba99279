"""Draws the next token, for the generation loops of backends whose runtime has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.interface.sampling import LogitsProcessor, Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sampler:
    """Samples tokens from logits. The same seed and logits give the same tokens.

    The order is penalties and min_p, temperature, top_k, then the fewest tokens whose probabilities
    reach top_p.

    Args:
        prompt_ids: the prompt, whose tokens a repetition penalty counts, too.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int] = ()) -> None:
        import numpy as np

        self._sampling = sampling
        self._process = LogitsProcessor(sampling, prompt_ids)
        self._random = np.random.default_rng(sampling.seed)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """Sample the next token from logits [V]."""
        token = self._draw(self._process(logits))
        self._process.append(token)
        return token

    def _draw(self, logits: NDArray[np.float32]) -> int:
        import numpy as np

        if self._sampling.greedy:
            return int(logits.argmax())
        tokens, weights = distribution(logits, self._sampling)
        place = int(np.searchsorted(weights.cumsum(), self._random.random(), side="right"))
        return int(tokens[min(place, len(weights) - 1)])


def distribution(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tokens that may be drawn, most probable first, and their probabilities.

    The *logits* [V] are those after penalties and min_p; the temperature is above 0.
    """
    import numpy as np

    scaled = logits.astype(np.float64) / sampling.temperature
    count = min(sampling.top_k or len(scaled), len(scaled))
    # a stable sort puts the lower id first where logits are equal, on every platform
    order = np.argsort(-scaled, kind="stable")[:count]
    weights = np.exp(scaled[order] - scaled[order[0]])
    weights /= weights.sum()
    kept = int(np.searchsorted(weights.cumsum(), sampling.top_p)) + 1
    return order[:kept], weights[:kept] / weights[:kept].sum()
