"""Latencies of a generation, from the timestamps of its tokens.

TTFT (time to first token) runs from the request to the first token. An inter-token latency is the
time between two tokens that follow each other. TPOT (time per output token) is the mean of those,
so prefill does not count into it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Timestamps of one generation, and its latencies.

    Attributes:
        start: `perf_counter` seconds at the request.
        stamps: `perf_counter` seconds of each token, in order.
        resumed: indices of tokens that follow a second prefill: a thinking budget continues with
            a second request. The time before them is not an inter-token latency.
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
        """Mean inter-token latency, milliseconds; None for fewer than two tokens."""
        latencies = self.inter_token_latencies_ms()
        return sum(latencies) / len(latencies) if latencies else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        tpot = self.tpot_ms
        return 1000 / tpot if tpot else None
