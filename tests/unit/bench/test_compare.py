"""Verdicts of comparing two results files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qdeploy.bench.compare import compare, judge, verdict
from qdeploy.bench.pairing import Pair, pair_rows
from qdeploy.bench.protocol import Protocol
from qdeploy.errors import InputError
from qdeploy.results import Diagnosis
from qdeploy.targets import Evidence
from tests.support.measured import STEADY, row, write

NOISY = ((10.0, 14.0, 8.0), (13.0, 9.0, 7.0), (15.0, 8.0, 11.0))
NAMES = ("a.json", "b.json")


def slower(percent: float, samples: tuple[tuple[float, ...], ...] = STEADY) -> Any:
    return tuple(tuple(x * (1 + percent / 100) for x in process) for process in samples)


def verdicts(a: Any, b: Any, threshold: float = 5) -> dict[str, str]:
    return {f.measure.name: f.verdict for f in judge(Pair(a, b), threshold)}


@pytest.mark.parametrize(
    ("tpot", "expected"),
    [
        (STEADY, "within noise"),
        (slower(20), "regression"),
        (slower(-20), "better"),
        (slower(4), "worse"),
        (NOISY, "within noise"),
    ],
    ids=["the same", "a fifth slower", "a fifth faster", "below the threshold", "noise"],
)
def test_the_speed_of_decoding(tpot: Any, expected: str) -> None:
    found = verdicts(row(), row(tpot))
    assert found["decode_tokens_per_s"] == expected
    assert found["prefill_tokens_per_s"] == found["peak_memory_bytes"] == "within noise"


def test_a_small_slowdown_is_a_regression_with_a_low_threshold() -> None:
    assert verdicts(row(), row(slower(8)), threshold=1)["decode_tokens_per_s"] == "regression"


def test_more_memory_is_worse_and_more_speed_is_better() -> None:
    found = verdicts(row(), row(memory=2 * 10**9, ttft_ms=50.0))
    assert found["peak_memory_bytes"] == "regression"
    assert found["prefill_tokens_per_s"] == "better"


@pytest.mark.parametrize(
    ("interval", "higher", "expected"),
    [
        ((1.04, 1.049), False, "worse"), ((1.051, 1.06), False, "regression"),
        ((0.951, 0.96), True, "worse"), ((0.94, 0.949), True, "regression"),
    ],
)  # fmt: skip
def test_the_threshold_is_in_percent_of_a(
    interval: tuple[float, float], higher: bool, expected: str
) -> None:
    assert verdict(interval, 5, higher_is_better=higher) == expected


def test_one_process_gives_no_verdict() -> None:
    found = verdicts(row(), row(slower(50)[:1]))
    assert found["decode_tokens_per_s"] == "too few processes"


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 50), st.booleans())
def test_a_verdict_holds_for_the_whole_interval(
    x: float, y: float, threshold: float, higher: bool
) -> None:
    low, high = sorted((x, y))
    assume(low > 0)
    found = verdict((low, high), threshold, higher_is_better=higher)
    assert (found == "within noise") == (low <= 1 <= high)
    if found == "regression":
        assert verdict((low, high), 0, higher_is_better=higher) == "regression"
    if found in ("worse", "regression"):
        assert verdict((low, high), threshold, higher_is_better=not higher) == "better"


def test_rows_are_paired_by_their_identity() -> None:
    a = [row(), row(point=(512, 64)), row(artifact={"profile": "here-int8"})]
    b = [row(point=(512, 64)), row(), row(point=(1024, 64))]
    found = pair_rows(a, b, NAMES)
    assert [(p.a, p.b) for p in found.pairs] == [(a[0], b[1]), (a[1], b[0])]
    assert found.differences == ()
    assert found.only_a == ("made-up · here · scripted · here-int8 · 128+64",)
    assert found.only_b == ("made-up · here · scripted · here-int4 · 1024+64",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"artifact": {"checkpoint_digest": "e" * 64}},
            "model: made-up with checkpoint digests ddd",
        ),
        ({"artifact": {"model": "another"}}, "model: made-up and another"),
        ({"environment": {"target": "there"}}, "target: here and there"),
        ({"artifact": {"profile": "here-int8"}}, "profile: here-int4 and here-int8"),
        ({"environment": {"evidence": Evidence.SIMULATED}}, "evidence: device and simulated"),
        ({"protocol": Protocol((128,), (64,), 9, 3)}, "protocol: runs 3 and 9"),
    ],
    ids=["weights", "model", "target", "profile", "evidence", "protocol"],
)
def test_rows_with_differences_are_compared_only_on_request(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    a, b = write(tmp_path / "a.json", row()), write(tmp_path / "b.json", row(**change))
    with pytest.raises(InputError, match=says) as caught:
        compare(a, b, threshold=5)
    assert "--across" in str(caught.value.fix)
    told = compare(a, b, threshold=5, across=True)
    assert len(told.pairing.pairs) == 1
    assert told.pairing.differences[0].startswith(says)


def test_nothing_in_common(tmp_path: Path) -> None:
    a = write(tmp_path / "a.json", row())
    b = write(tmp_path / "b.json", row(point=(512, 64)))
    for across in (False, True):
        with pytest.raises(InputError, match=r"nothing in common: .*128\+64.*512\+64"):
            compare(a, b, threshold=5, across=across)


def test_rows_of_one_identity_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.json", row(), row()), write(tmp_path / "b.json", row())
    with pytest.raises(InputError, match="several rows are made-up") as caught:
        compare(a, b, threshold=5)
    assert str(a) in str(caught.value)


def test_a_file_without_benchmarks(tmp_path: Path) -> None:
    absent = Diagnosis(target="here", backend=None, evidence=Evidence.NONE, status="absent")
    a, b = write(tmp_path / "a.json", absent), write(tmp_path / "b.json", row())
    with pytest.raises(InputError, match="there is no benchmark"):
        compare(a, b, threshold=5)
