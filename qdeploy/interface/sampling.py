"""How the next token is drawn, and what penalties do to its logits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_PENALTY = 2.0
"""The range of OpenAI's API and of vLLM, which runtimes keep to: -2 to 2."""
SMALLEST = 1e-37
"""Positive numbers below this may be 0 to runtimes that compute with 32 bits."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. A temperature of 0 is greedy decoding.

    The order is that of vLLM: penalties (in greedy decoding, too), temperature, `min_p` and
    `top_k`, and `top_p` over what those keep.

    Attributes:
        temperature: finite, 0 or more; below `SMALLEST` is greedy, too.
        top_p: keep the most probable tokens that together have this probability: above 0; 1 keeps
            all.
        top_k: keep the k most probable tokens; 0 keeps all.
        seed: the same seed, bundle, device and request give the same tokens.
        min_p: keep the tokens that are at least this many times as probable as the most probable
            one: 0 to 1; 0 keeps all.
        repetition_penalty: above 0. Positive logits of tokens that the prompt or the answer holds
            are divided by it, negative ones multiplied; 1 changes none.
        presence_penalty: -2 to 2. It is subtracted from the logits of tokens that the request has
            generated; 0 changes none.
        frequency_penalty: -2 to 2. The same, times how often the request has generated the token.

    Raises:
        InputError: a number out of its range, or not a number.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"the temperature is {self.temperature}", fix="give a finite number, 0 or more"
            )
        if not SMALLEST <= self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}", fix="give a number above 0 and up to 1")
        if not 0 <= self.min_p <= 1:
            raise InputError(f"min-p is {self.min_p}", fix="give a number from 0 to 1")
        if not SMALLEST <= self.repetition_penalty < math.inf:
            raise InputError(
                f"the repetition penalty is {self.repetition_penalty}",
                fix="give a finite number above 0; 1 is none",
            )
        for name in ("presence", "frequency"):
            penalty: float = getattr(self, f"{name}_penalty")
            if not -LARGEST_PENALTY <= penalty <= LARGEST_PENALTY:
                raise InputError(
                    f"the {name} penalty is {penalty}", fix="give a number from -2 to 2; 0 is none"
                )

    @property
    def greedy(self) -> bool:
        return self.temperature < SMALLEST


class LogitsProcessor:
    """Applies penalties and min-p to the logits of one request.

    For backends whose runtime does not apply them itself. The definitions are those of
    transformers (`RepetitionPenaltyLogitsProcessor`, `MinPLogitsWarper`) and of vLLM (presence
    and frequency penalty).

    Args:
        prompt_ids: the request's prompt.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int]) -> None:
        self._sampling = sampling
        self._generated: Counter[int] = Counter()
        self._seen = set(prompt_ids)
        self._seen_ids: NDArray[np.int64] | None = None
        self._min_p = 0.0 if sampling.greedy else sampling.min_p

    @property
    def is_needed(self) -> bool:
        """Whether it ever changes a logit."""
        sampling = self._sampling
        penalized = sampling.repetition_penalty != 1 or self._counts
        return penalized or self._min_p > 0

    @property
    def _counts(self) -> bool:
        return self._sampling.presence_penalty != 0 or self._sampling.frequency_penalty != 0

    def append(self, token: int) -> None:
        """Count a token that was generated."""
        import numpy as np

        self._generated[token] += 1
        if self._seen_ids is not None and token not in self._seen:
            self._seen_ids = np.append(self._seen_ids, token)
        self._seen.add(token)

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [V] with penalties, and negative infinity where min-p drops a token.

        The argument is left as it is.
        """
        import numpy as np

        if not self.is_needed:
            return logits
        sampling = self._sampling
        changed = logits.copy()
        if sampling.repetition_penalty != 1:
            if self._seen_ids is None:
                self._seen_ids = np.fromiter(self._seen, np.int64)
            ids = self._seen_ids
            found, penalty = changed[ids].astype(np.float64), sampling.repetition_penalty
            most = np.finfo(np.float32).max
            changed[ids] = np.where(found < 0, found * penalty, found / penalty).clip(-most, most)
        if self._counts:
            ids = np.fromiter(self._generated.keys(), np.int64)
            times = np.fromiter(self._generated.values(), np.float32)
            changed[ids] -= sampling.presence_penalty + sampling.frequency_penalty * times
        if self._min_p:
            # p(i) / p(best) is exp((logit(i) - logit(best)) / temperature)
            least = changed.max() + sampling.temperature * math.log(self._min_p)
            changed[changed < least] = -np.inf
        return changed
