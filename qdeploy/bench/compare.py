"""Is B slower than A? With the noise of both taken into account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Literal

from qdeploy.bench import pairing
from qdeploy.bench.pairing import Pair, Pairing
from qdeploy.bench.statistics import Groups, pooled_median, ratio_interval, relative_iqr
from qdeploy.errors import InputError
from qdeploy.results import Bench, Sample, read_results

Verdict = Literal["regression", "worse", "within noise", "better", "too few processes"]


@dataclass(frozen=True)
class Measure:
    """Something that is compared.

    Attributes:
        name: as in results.
        higher_is_better: of speeds; not of memory.
        values: of a row, by process.
    """

    name: str
    title: str
    higher_is_better: bool
    values: Callable[[Bench], Groups]


@dataclass(frozen=True)
class Finding:
    """One measure of one pair.

    Attributes:
        a, b: medians.
        a_spread, b_spread: distance of the quartiles, as a part of the median.
        ratio: b / a.
        interval: of the ratio, 95%; None where one process of a side is all there is.
    """

    measure: Measure
    a: float
    b: float
    a_spread: float
    b_spread: float
    ratio: float
    interval: tuple[float, float] | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two files, compared.

    Attributes:
        findings: of each pair, in the order of `pairing.pairs`.
    """

    pairing: Pairing
    findings: tuple[tuple[Finding, ...], ...]

    def regressions(self) -> list[tuple[Pair, Finding]]:
        both = zip(self.pairing.pairs, self.findings, strict=True)
        return [(p, f) for p, found in both for f in found if f.verdict == "regression"]


def compare(a: Path, b: Path, *, threshold: float, across: bool = False) -> Comparison:
    """Compare the benchmarks of two files; *threshold* is in percent.

    Raises:
        InputError: a file that is none of results, files with nothing in common, or rows that
            measure different things, unless *across*.
    """
    one, other = (pairing.rows_of(read_results(path), path) for path in (a, b))
    paired = pairing.pair(one, other, (a, b))
    if paired.differences and not across:
        raise InputError(
            f"these do not compare: {'; '.join(paired.differences)}",
            where=f"{a} and {b}",
            fix="measure both alike; or --across compares them all the same",
        )
    return Comparison(paired, tuple(judge(p, threshold) for p in paired.pairs))


def judge(pair: Pair, threshold: float) -> tuple[Finding, ...]:
    """Every measure that both rows have."""
    found = []
    for measure in MEASURES:
        a, b = measure.values(pair.a), measure.values(pair.b)
        if a and b:
            found.append(_finding(measure, a, b, threshold))
    return tuple(found)


def _finding(measure: Measure, a: Groups, b: Groups, threshold: float) -> Finding:
    interval = ratio_interval(a, b)
    one, other = pooled_median(a), pooled_median(b)
    return Finding(
        measure,
        one,
        other,
        relative_iqr(a),
        relative_iqr(b),
        other / one,
        interval,
        verdict(interval, threshold, higher_is_better=measure.higher_is_better),
    )


def verdict(
    interval: tuple[float, float] | None, threshold: float, *, higher_is_better: bool
) -> Verdict:
    """What an interval of b / a says; *threshold* in percent of a.

    A regression is one that the whole interval confirms: even its mildest end is beyond the
    threshold. An interval that holds 1 says nothing.
    """
    if interval is None:
        return "too few processes"
    low, high = interval
    mildest, worst = (1 - high, 1 - low) if higher_is_better else (low - 1, high - 1)
    if mildest > threshold / 100:
        return "regression"
    if mildest > 0:
        return "worse"
    return "better" if worst < 0 else "within noise"


def _by_process(row: Bench, value: Callable[[Sample], float]) -> Groups:
    groups: dict[int, list[float]] = {}
    for sample in row.samples:
        groups.setdefault(sample.process, []).append(value(sample))
    return list(groups.values())


def _prefill(row: Bench) -> Groups:
    return _by_process(row, lambda sample: 1000 * row.prompt_tokens / sample.ttft_ms)


def _decode(row: Bench) -> Groups:
    return _by_process(row, lambda sample: 1000 / mean(sample.inter_token_latencies_ms))


def _memory(row: Bench) -> Sequence[Sequence[float]]:
    peaks = [p.peak_memory_bytes for p in row.processes]
    return [[float(peak)] for peak in peaks if peak is not None]


MEASURES = (
    Measure("prefill_tokens_per_s", "prefill tok/s", True, _prefill),
    Measure("decode_tokens_per_s", "decode tok/s", True, _decode),
    Measure("peak_memory_bytes", "peak memory", False, _memory),
)
"""What is judged. Loads are not: one a process is too few to tell a difference from noise."""
