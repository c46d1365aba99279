"""What a generation cost, from the timestamps of its tokens.

TTFT is the time from handing over the prompt to the first token. TPOT (time per output token) is
the mean gap between tokens after the first, so that prefill does not count into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Speed of one generation.

    Attributes:
        start: `perf_counter` seconds when the prompt was handed over.
        stamps: `perf_counter` seconds of each token, in order.
        resumed: indices of tokens that a new prefill preceded (a thinking budget continues with a
            second request); the gap before them is not decoding.
    """

    start: float
    stamps: tuple[float, ...]
    resumed: frozenset[int] = frozenset()

    @property
    def ttft_ms(self) -> float | None:
        return 1000 * (self.stamps[0] - self.start) if self.stamps else None

    def inter_token_latencies_ms(self) -> list[float]:
        """Inter-token latencies of decoding, milliseconds."""
        pairs = enumerate(zip(self.stamps, self.stamps[1:], strict=False), start=1)
        return [1000 * (b - a) for i, (a, b) in pairs if i not in self.resumed]

    @property
    def tpot_ms(self) -> float | None:
        """Mean milliseconds a token after the first; None for fewer than two tokens."""
        latencies = self.inter_token_latencies_ms()
        return sum(latencies) / len(latencies) if latencies else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        tpot = self.tpot_ms
        return 1000 / tpot if tpot else None


def percentile(samples: Sequence[float], q: float) -> float:
    """The q-th percentile, 0 <= q <= 100, interpolated linearly (NumPy's default method).

    Raises:
        ValueError: no samples, or q out of range.
    """
    if not samples:
        raise ValueError("percentile of no samples")
    if not 0 <= q <= 100:
        raise ValueError(f"q is {q}, not within 0 to 100")
    ordered = sorted(samples)
    at = (len(ordered) - 1) * q / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
