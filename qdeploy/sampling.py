"""How tokens are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qdeploy.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. A temperature of 0 is greedy decoding.

    Attributes:
        temperature: finite, 0 or more.
        top_p: keep the most probable tokens that together have this probability: above 0, 1 keeps
            all.
        top_k: keep the k most probable tokens; 0 keeps all.
        seed: the same seed, bundle, device and request give the same tokens.

    Raises:
        InputError: a number out of its range, or none at all, which runtimes draw nonsense with.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"the temperature is {self.temperature}", fix="give a finite number, 0 or more"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}", fix="give a number above 0 and up to 1")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0
