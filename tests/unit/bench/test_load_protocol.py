"""What a load sends: lengths, prompts, arrivals, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.bench.load.goodput import is_good, parse_goodput
from qdeploy.bench.load.protocol import (
    WARM_UP,
    LoadPoint,
    LoadProtocol,
    check_load,
    parse_clients,
)
from qdeploy.errors import InputError
from qdeploy.results import LoadSample
from tests.support.bundles import scripted_bundle

PROTOCOL = LoadProtocol(
    prompt_tokens=40, new_tokens=16, vary=0.25, shared=0.5, concurrencies=(1, 4), rate=None,
    requests=None, processes=2, goodput={},
)  # fmt: skip
FOUR = LoadPoint(4)


@given(
    st.integers(1, 200), st.integers(2, 64), st.floats(0, 0.99), st.floats(0, 1), st.integers(1, 9)
)
def test_lengths_are_within_reach_and_prompts_share_what_they_should(
    prompt: int, new: int, vary: float, shared: float, clients: int
) -> None:
    protocol = replace(PROTOCOL, prompt_tokens=prompt, new_tokens=new, vary=vary, shared=shared)
    made = protocol.planned(LoadPoint(clients), 0, 1000)
    assert len(made) == max(4 * clients, 8)
    longest_prompt, longest_answer = protocol.longest
    common = min(round(shared * prompt), min(len(p.prompt_ids) for p in made) - 1)
    for planned in made:
        assert 1 <= len(planned.prompt_ids) <= longest_prompt
        assert 1 <= planned.new_tokens <= longest_answer
        assert planned.prompt_ids[:common] == made[0].prompt_ids[:common]
        assert all(0 <= i < 1000 for i in planned.prompt_ids)


def test_no_two_requests_share_more_than_they_should() -> None:
    """Neither within a load, nor with the warm-up, another round, or another load."""
    common = 20
    seen = [
        planned.prompt_ids[common : common + 4]
        for point in PROTOCOL.points
        for number in (WARM_UP, 0, 1)
        for planned in PROTOCOL.planned(point, number, 150_000)
    ]
    assert len(set(seen)) == len(seen)


def test_lengths_are_the_same_in_every_round() -> None:
    first, second = (PROTOCOL.planned(FOUR, number, 1000) for number in (0, 1))
    lengths = [[(len(p.prompt_ids), p.new_tokens) for p in made] for made in (first, second)]
    assert lengths[0] == lengths[1]
    assert len(set(lengths[0])) > 4


def test_arrivals_come_at_the_mean_rate_and_always_the_same() -> None:
    protocol = replace(PROTOCOL, rate=5.0, requests=2000)
    point = LoadPoint(4, 5.0)
    arrivals = protocol.arrivals(point)
    assert arrivals is not None
    assert arrivals == sorted(arrivals) == protocol.arrivals(point)
    assert len(arrivals) == 2000
    assert 2000 / arrivals[-1] == pytest.approx(5, rel=0.1)
    assert PROTOCOL.arrivals(FOUR) is None


def test_the_hash_is_of_what_is_done_and_not_of_the_list_of_loads() -> None:
    assert replace(PROTOCOL, concurrencies=(1,)).hash == PROTOCOL.hash
    for change in ({"vary": 0.0}, {"shared": 0.0}, {"requests": 9}, {"goodput": {"ttft": 1.0}}):
        assert replace(PROTOCOL, **change).hash != PROTOCOL.hash


@pytest.mark.parametrize("text", ["", "0", "1,", "many", "-1", "1025", "٣", "9" * 5000])
def test_what_is_no_number_of_clients(text: str) -> None:
    with pytest.raises(InputError, match="not a number of clients"):
        parse_clients(text)
    assert parse_clients("8, 1,8") == (1, 8)


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft:0", "ttft:nan", "tpot:inf", "itl:5", "ttft:1,ttft:2"]
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(InputError, match="is not a limit"):
        parse_goodput(text)


def test_an_answer_is_good_within_every_limit() -> None:
    sample = LoadSample(
        process=0, start_s=0, ttft_ms=100, e2e_ms=190, prompt_tokens=5, new_tokens=10
    )
    assert sample.tpot_ms == 10
    assert is_good(sample, parse_goodput("ttft:100,tpot:10,e2el:190"))
    for text in ("ttft:99", "tpot:9.9", "e2el:189", "ttft:500,tpot:9"):
        assert not is_good(sample, parse_goodput(text))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt_tokens": 2000, "new_tokens": 200}, "2500 prompt and 250 new tokens does not fit"),
        ({"requests": 10_001}, "20,002 requests at one load"),
        ({"new_tokens": 2, "vary": 0.5}, "have one token"),
    ],
)
def test_what_cannot_be_measured(change: dict[str, int], says: str, tmp_path: Path) -> None:
    bundle = scripted_bundle(tmp_path / "one")
    check_load([bundle], PROTOCOL)
    with pytest.raises(InputError, match=says):
        check_load([bundle], replace(PROTOCOL, **change))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="given twice"):
        check_load([bundle, bundle], PROTOCOL)
