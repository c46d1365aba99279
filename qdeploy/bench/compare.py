"""Compare two results files, taking the noise of both into account: speed, memory, quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from qdeploy.bench.pairing import Measured, Pair, Pairing, compared_rows, pair_rows
from qdeploy.bench.statistics import Groups, pooled_median, ratio_interval, relative_iqr
from qdeploy.errors import InputError
from qdeploy.evaluate.change import Change, judge_quality
from qdeploy.results import Bench, Eval, Load, LoadSample, Sample, read_results

Verdict = Literal["regression", "worse", "within noise", "better", "too few processes"]


@dataclass(frozen=True)
class Measure:
    """A figure to compare.

    Attributes:
        name: of the field in results.
        higher_is_better: true for speed, false for memory and times.
        values: returns the values of a row, grouped by process.
    """

    name: str
    title: str
    higher_is_better: bool
    values: Callable[[Any], Groups]


@dataclass(frozen=True)
class Finding:
    """The comparison of one measure for one pair of rows.

    Attributes:
        a, b: medians.
        a_spread, b_spread: interquartile range divided by the median.
        ratio: b / a.
        interval: 95% confidence interval of the ratio; None if a side has only one process.
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
    """The comparison of two files.

    Attributes:
        findings: the findings of each pair, in the order of `pairing.pairs`.
        quality: the paired evaluations; *changes* are their differences, in the same order.
    """

    pairing: Pairing[Measured]
    findings: tuple[tuple[Finding, ...], ...]
    quality: Pairing[Eval]
    changes: tuple[Change, ...]

    @property
    def differences(self) -> tuple[str, ...]:
        """Reasons not to compare the files, one phrase each."""
        return tuple(dict.fromkeys((*self.pairing.differences, *self.quality.differences)))

    def regressions(self) -> list[tuple[Pair[Measured], Finding]]:
        both = zip(self.pairing.pairs, self.findings, strict=True)
        return [(p, f) for p, found in both for f in found if f.verdict == "regression"]

    def worse_quality(self) -> list[tuple[Pair[Eval], Change]]:
        """The evaluations whose KL divergence is a regression."""
        both = zip(self.quality.pairs, self.changes, strict=True)
        return [(pair, change) for pair, change in both if change.verdict == "regression"]


def compare(a: Path, b: Path, *, threshold: float, across: bool = False) -> Comparison:
    """Compare the benchmarks and evaluations of two files; *threshold* is in percent.

    Raises:
        InputError: a file is not a results file, the files have nothing in common, or the rows
            differ in what was measured and *across* is false.
    """
    one, other = (compared_rows(read_results(path), path) for path in (a, b))
    speeds, evals = pair_rows(one[0], other[0], (a, b)), pair_rows(one[1], other[1], (a, b))
    if not speeds.pairs and not evals.pairs:
        sides = ((*speeds.only_a, *evals.only_a), (*speeds.only_b, *evals.only_b))
        had = "; ".join(f"{p} has {', '.join(rows)}" for p, rows in zip((a, b), sides, strict=True))
        raise InputError(
            f"nothing in common: {had}",
            fix="measure both with the same --prompt and --new, or --text and --reference",
        )
    found = Comparison(
        speeds,
        tuple(judge(p, threshold) for p in speeds.pairs),
        evals,
        tuple(judge_quality(p.a, p.b, threshold) for p in evals.pairs),
    )
    if found.differences and not across:
        raise InputError(
            f"these do not compare: {'; '.join(found.differences)}",
            where=f"{a} and {b}",
            fix="measure both in the same way, or compare them nevertheless with --across",
        )
    return found


def judge(pair: Pair[Measured], threshold: float) -> tuple[Finding, ...]:
    """Compare all measures that both rows have."""
    found = []
    for measure in MEASURES[pair.a.kind]:
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
    """The verdict on an interval of b / a; *threshold* is in percent of a.

    It is a regression if the whole interval is beyond the threshold. An interval that contains 1 is
    within the noise.
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


def _memory(row: Bench | Load) -> Sequence[Sequence[float]]:
    peaks = [p.peak_memory_bytes for p in row.processes]
    return [[float(peak)] for peak in peaks if peak is not None]


def _throughput(row: Load) -> Groups:
    """One value a process, since requests of one process share its time."""
    tokens = [0] * len(row.processes)
    for sample in row.samples:
        tokens[sample.process] += sample.new_tokens
    pairs = zip(tokens, row.processes, strict=True)
    return [[made / process.duration_s] for made, process in pairs if made]


def _of_requests(value: Callable[[LoadSample], float]) -> Callable[[Load], Groups]:
    def values(row: Load) -> Groups:
        groups: dict[int, list[float]] = {}
        for sample in row.samples:
            groups.setdefault(sample.process, []).append(value(sample))
        return list(groups.values())

    return values


MEMORY = Measure("peak_memory_bytes", "peak memory", False, _memory)
MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "bench": (
        Measure("prefill_tokens_per_s", "prefill tok/s", True, _prefill),
        Measure("decode_tokens_per_s", "decode tok/s", True, _decode),
        MEMORY,
    ),
    "load": (
        Measure("output_tokens_per_s", "tok/s", True, _throughput),
        Measure("ttft_ms", "TTFT ms", False, _of_requests(lambda sample: sample.ttft_ms)),
        Measure("tpot_ms", "TPOT ms", False, _of_requests(lambda sample: sample.tpot_ms)),
        MEMORY,
    ),
}
"""The figures that are compared, by the kind of row. Load times are not: one per process is too
few."""
