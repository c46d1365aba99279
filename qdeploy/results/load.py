"""Results of a load: many requests at once, in a bounded form."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from qdeploy.results.conditions import Conditions
from qdeploy.results.subject import Amount, Artifact, Bytes, Environment, Positive
from qdeploy.storage.toml_file import Strict

MOST_REQUESTS = 20_000
"""Requests of one row: a file stays below some megabytes."""
RATIO = 1.02
"""Each bin of a histogram ends this many times later than the one before, so a percentile is right
within one percent."""
SHORTEST_MS = 0.01
"""End of the first bin; tokens that arrive together are in it."""


class Percentiles(Strict):
    """Number of values of a measure, and percentiles; values in milliseconds."""

    count: int = Field(gt=0)
    p50: Amount
    p90: Amount
    p99: Amount


def _ascending(bins: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    places = [place for place, _ in bins]
    if places != sorted(set(places)) or any(count < 1 for _, count in bins):
        raise ValueError("bins are ascending, and none is empty")
    return bins


class Histogram(Strict):
    """How often a time occurred.

    Attributes:
        bins: pairs of number and count, ascending, without empty ones. Bin n ends at
            `SHORTEST_MS * RATIO ** n` milliseconds, 0.01 ms times 1.02 to the n.
    """

    bins: Annotated[tuple[tuple[int, int], ...], Field(max_length=2000), AfterValidator(_ascending)]

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> Histogram:
        """Count *times_ms*."""
        return cls.counted(Counter(map(_bin, times_ms)))

    @classmethod
    def counted(cls, counts: Counter[int]) -> Histogram:
        """Make one of counts by bin."""
        return cls(bins=tuple(sorted(counts.items())))

    @property
    def count(self) -> int:
        return sum(count for _, count in self.bins)

    def percentile(self, part: float) -> float:
        """The time below which *part* of the values lie, 0 to 1; the histogram is not empty."""
        places = [place for place, _ in self.bins]
        below = list(accumulate(count for _, count in self.bins))
        place = places[bisect_left(below, part * self.count)]
        return 0.0 if place == 0 else float(SHORTEST_MS * RATIO ** (place - 0.5))

    def percentiles(self) -> Percentiles | None:
        """Its percentiles; None if it is empty."""
        if not self.bins:
            return None
        p50, p90, p99 = map(self.percentile, (0.5, 0.9, 0.99))
        return Percentiles(count=self.count, p50=p50, p90=p90, p99=p99)


def _bin(time_ms: float) -> int:
    if time_ms <= SHORTEST_MS:
        return 0
    return math.ceil(math.log(time_ms / SHORTEST_MS) / math.log(RATIO) - 1e-9)


class LoadSample(Strict):
    """One request that was answered in full.

    Attributes:
        process: index of the process that measured it.
        start_s: when it arrived, in seconds since the point began in this process.
        ttft_ms: time to first token since then, waiting included.
        e2e_ms: time to the last token since then.
    """

    process: int = Field(ge=0)
    start_s: Amount
    ttft_ms: Positive
    e2e_ms: Positive
    prompt_tokens: int = Field(gt=0)
    new_tokens: int = Field(gt=1)

    @property
    def tpot_ms(self) -> float:
        """Mean time per output token after the first."""
        return (self.e2e_ms - self.ttft_ms) / (self.new_tokens - 1)


class LoadProcess(Strict):
    """One of the measuring processes.

    Attributes:
        duration_s: from the first arrival to the last token; 0 if every request failed.
        inter_token_latencies: of all requests of the process.
        threads: threads of the process when it ended; None except on Linux.
    """

    duration_s: Amount
    inter_token_latencies: Histogram
    peak_memory_bytes: Bytes | None = None
    device_peak_memory_bytes: Bytes | None = None
    threads: int | None = None
    load_average: tuple[float, float] | None = None
    cpu_steal: float | None = None


class Load(Strict):
    """Throughput and latency of one bundle under one load.

    Attributes:
        protocol: the load protocol; only results of equal *protocol_hash* are compared.
        concurrency: clients that work at once; with a rate, most requests under way.
        rate: mean of the arrivals per second, which do not wait for answers; None for clients that
            each send a request when the one before is answered.
        serves: requests that the session serves at once; further ones wait.
        samples, processes: the raw values; every figure below is computed from them.
        failures: requests that failed, counted by the error's message. They are in no other figure.
        requests_per_s, output_tokens_per_s, goodput_per_s: of answered requests, divided by the
            time that a process took; medians over the processes. Goodput counts the requests that
            kept all limits of the protocol's *goodput*; None without limits.
        interrupted: why there are fewer requests than asked for; None if complete.
    """

    kind: Literal["load"] = "load"
    artifact: Artifact
    environment: Environment
    conditions: Conditions
    protocol: dict[str, Any]
    protocol_hash: str
    concurrency: int = Field(gt=0)
    rate: Positive | None = None
    serves: int = Field(gt=0)
    prompt_tokens: int = Field(gt=0)
    new_tokens: int = Field(gt=1)
    samples: Annotated[tuple[LoadSample, ...], Field(max_length=MOST_REQUESTS)]
    processes: tuple[LoadProcess, ...]
    failures: dict[str, int] = Field(default_factory=dict)
    interrupted: str | None = None
    requests_per_s: Amount
    output_tokens_per_s: Amount
    goodput_per_s: Amount | None = None
    ttft_ms: Percentiles | None = None
    tpot_ms: Percentiles | None = None
    inter_token_latency_ms: Percentiles | None = None
    e2e_ms: Percentiles | None = None
    peak_memory_bytes: Bytes | None = None
    device_peak_memory_bytes: Bytes | None = None

    @property
    def failed(self) -> int:
        """Number of requests that failed."""
        return sum(self.failures.values())

    @property
    def point(self) -> str:
        """What identifies the row besides model, target, backend and profile."""
        arriving = "" if self.rate is None else f", {self.rate:g}/s"
        return f"{self.prompt_tokens}+{self.new_tokens} at {self.concurrency}{arriving}"
