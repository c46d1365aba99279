"""Sampling the next token, for qdeploy's own generation loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdeploy.interface import Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sampler:
    """Samples tokens from logits. The same seed and logits give the same tokens.

    The order is that of transformers: temperature, then top_k, then the fewest tokens whose
    probabilities reach top_p.
    """

    def __init__(self, sampling: Sampling) -> None:
        import numpy as np

        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """Sample the next token from logits [V]."""
        import numpy as np

        sampling = self._sampling
        if sampling.greedy:
            return int(logits.argmax())
        scaled = logits.astype(np.float64) / sampling.temperature
        count = min(sampling.top_k or len(scaled), len(scaled))
        # a stable sort puts the lower id first where logits are equal, on every platform
        order = np.argsort(-scaled, kind="stable")[:count]
        weights = np.exp(scaled[order] - scaled[order[0]])
        weights /= weights.sum()
        kept = int(np.searchsorted(weights.cumsum(), sampling.top_p)) + 1
        weights = weights[:kept] / weights[:kept].sum()
        place = int(np.searchsorted(weights.cumsum(), self._random.random(), side="right"))
        return int(order[min(place, len(weights) - 1)])
