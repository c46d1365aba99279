"""How much each token counts in the moments of a linear layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ALIKE = 0.5
"""The part of the weights that all tokens share alike. Where a model is sure of its text, gradients
are near zero at most tokens, and the moments would be those of a few."""


class Weighting:
    """Weights of tokens by the linear layer that reads them; by default all count the same."""

    def __init__(
        self,
        find: Callable[[str], Floats] | None = None,
        energy: Callable[[str], float] = lambda _: 1.0,
    ) -> None:
        """*find* gives the importance of tokens, [T], of mean 1, by the name of a weight; *energy*
        that of the gradient at its outputs, the same for all where nothing is known of it.
        """
        self._find, self.energy = find, energy

    def of(self, weight: str) -> Floats | None:
        """Weights of tokens, float32 [T] of mean 1, or None where all count the same."""
        if self._find is None:
            return None
        return np.asarray(ALIKE + (1 - ALIKE) * self._find(weight), np.float32)
