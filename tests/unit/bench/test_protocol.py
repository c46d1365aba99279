"""The protocol: its hash, and the prompts that everyone gets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.bench import protocol
from qdeploy.bench.pairing import Pair, pair_differences
from qdeploy.bench.protocol import Protocol
from qdeploy.results import Bench, read_results

VERSION_1 = Path(__file__).parents[1] / "results" / "schema_1" / "measured.json"
USUAL = Protocol((128, 512), (64,), runs=3, processes=3)


def test_the_hash_is_known() -> None:
    """A change of the rules changes it, and then `VERSION` has to change as well."""
    assert protocol.VERSION == 2
    assert USUAL.hash == "25c3bc30d2bae93632ce70a8e36c25c6abce93ce968e84389cc6088665d59cab"


def test_results_of_protocol_version_1_are_read_but_not_compared() -> None:
    old = next(row for row in read_results(VERSION_1).results if isinstance(row, Bench))
    numbers = {name: old.protocol[name] for name in asdict(USUAL)}
    current = Protocol(**numbers | {n: tuple(numbers[n]) for n in ("prompt_tokens", "new_tokens")})
    new = old.model_copy(update={"protocol": current.as_dict(), "protocol_hash": current.hash})
    (difference,) = pair_differences(Pair(old, new))
    assert difference.startswith("protocol: ")
    assert "version 1 and 2" in difference


def test_the_hash_is_of_what_the_results_carry() -> None:
    carried = json.loads(json.dumps(USUAL.as_dict()))
    text = json.dumps(carried, sort_keys=True, separators=(",", ":"))
    assert USUAL.hash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [{"prompt_tokens": (128,)}, {"new_tokens": (32,)}, {"runs": 4}, {"processes": 1}],
    ids=str,
)
def test_another_protocol_has_another_hash(change: dict[str, Any]) -> None:
    assert replace(USUAL, **change).hash != USUAL.hash


def test_points_are_every_pair_by_ascending_length() -> None:
    grid = Protocol((512, 8), (64, 16), runs=1, processes=1)
    assert [str(p) for p in grid.points] == ["8+16", "8+64", "512+16", "512+64"]


@given(st.integers(1, 300), st.integers(1, 10**6), st.integers(-1, 50))
def test_every_id_of_a_prompt_is_of_the_vocabulary(length: int, vocab: int, run: int) -> None:
    ids = protocol.prompt(length, vocab, run)
    assert len(ids) == length
    assert all(0 <= i < vocab for i in ids)
    assert ids == protocol.prompt(length, vocab, run)


def test_prompts_are_the_same_everywhere() -> None:
    assert protocol.prompt(4, 151936, 0) == (108675, 124832, 13092, 125968)


def test_no_two_prompts_share_a_beginning() -> None:
    """Else a runtime that keeps prompts would be measured at remembering them."""
    beginnings = [protocol.prompt(n, 2048, run)[:4] for n in (16, 32) for run in range(-1, 9)]
    assert len(set(beginnings)) == len(beginnings)
