"""Latencies from timestamps."""

from __future__ import annotations

import pytest

from qdeploy.generation.latency import Timing


def test_the_first_token_counts_as_ttft_and_not_as_decoding() -> None:
    timing = Timing(10.0, (10.5, 10.6, 10.8))
    assert timing.ttft_ms == pytest.approx(500)
    assert timing.inter_token_latencies_ms() == pytest.approx([100, 200])
    assert timing.tpot_ms == pytest.approx(150)
    assert timing.decode_tokens_per_s == pytest.approx(1000 / 150)


def test_a_second_prefill_is_not_decoding_either() -> None:
    timing = Timing(0.0, (1.0, 1.1, 5.0, 5.1), resumed=frozenset({2}))
    assert timing.inter_token_latencies_ms() == pytest.approx([100, 100])


def test_one_token_has_no_decoding_speed() -> None:
    timing = Timing(0.0, (0.25,))
    assert timing.ttft_ms == pytest.approx(250)
    assert timing.tpot_ms is None
    assert timing.decode_tokens_per_s is None


def test_no_token_has_no_time_at_all() -> None:
    assert Timing(0.0, ()).ttft_ms is None
