"""The roofline: work counted by hand, and bounds that hold for any shape."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.checkpoint.published.catalogue import find_published
from qdeploy.forecast import roofline
from qdeploy.forecast.roofline import Roof, Work
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import INTEL_CPU


def plan_of(size: str) -> Plan:
    found = find_published(size)
    assert found is not None
    return make_plan(found, load_profile("intel-cpu-int4"), INTEL_CPU)


DENSE, MOE = plan_of("0.6B"), plan_of("30B-A3B")


def test_decode_of_a_dense_model_reads_every_weight_once() -> None:
    """Its embedding is tied, so read as lm_head."""
    work = roofline.decode(DENSE, 100)
    assert work.nbytes == DENSE.weight_bytes + 100 * DENSE.kv_bytes_per_token
    matrices = 2 * (440_401_920 + 151_936 * 1024)
    assert work.operations == matrices + 4 * 28 * 16 * 128 * 100


def test_an_untied_embedding_is_not_read() -> None:
    made = plan_of("8B")
    table = next(t.nbytes for t in made.tensors if t.role == "embedding")
    assert roofline.decode(made, 0).nbytes == made.weight_bytes - table


def test_decode_of_a_mixture_reads_the_chosen_experts_only() -> None:
    experts = sum(t.nbytes for t in MOE.tensors if ".experts." in t.name)
    table = next(t.nbytes for t in MOE.tensors if t.role == "embedding")
    expected = MOE.weight_bytes - table - experts * (1 - 8 / 128)
    assert roofline.decode(MOE, 0).nbytes == pytest.approx(expected)


def test_operations_of_a_mixture_are_those_of_its_active_parameters() -> None:
    """The model's card: 3.3 billion activated, the embedding included, which computes nothing."""
    assert roofline.decode(MOE, 0).operations / 2e9 == pytest.approx(3.3 - 0.3, rel=0.03)


def test_prefill_computes_the_head_for_the_last_token_only() -> None:
    linear = sum(prod(t.shape) for t in DENSE.tensors if t.role == "linear")
    work = roofline.prefill(DENSE, 10)
    attention = 4 * 28 * 16 * 128 * 10 * 10 / 2
    assert work.operations == 2 * 10 * linear + 2 * 151_936 * 1024 + attention


def test_a_long_prompt_meets_every_expert() -> None:
    table = next(t.nbytes for t in MOE.tensors if t.role == "embedding")
    work = roofline.prefill(MOE, 4096)
    everything = MOE.weight_bytes - table + 4096 * MOE.kv_bytes_per_token
    assert work.nbytes == pytest.approx(everything, rel=1e-9)


@given(st.integers(1, 8), st.integers(1, 5000))
def test_experts_met_are_no_fewer_than_chosen_and_no_more_than_there_are(
    chosen: int, tokens: int
) -> None:
    share = chosen / 128
    met = roofline.expected_share(share, tokens)
    assert share <= met + 1e-12
    assert met <= min(1.0, share * tokens) + 1e-12
    assert met <= roofline.expected_share(share, tokens + 1)


@given(st.floats(1, 1e15), st.floats(1, 1e18), st.floats(1, 1e13), st.floats(1, 1e16))
def test_time_is_that_of_the_slower_of_both(
    nbytes: float, operations: float, bandwidth: float, rate: float
) -> None:
    seconds, bound = Roof(bandwidth, rate).seconds(Work(nbytes, operations))
    assert seconds == max(nbytes / bandwidth, operations / rate)
    assert bound == ("memory" if nbytes / bandwidth >= operations / rate else "compute")


def test_without_a_rate_only_memory_bounds() -> None:
    assert Roof(10.0, None).seconds(Work(20.0, 1e30)) == (2.0, "memory")


@given(st.integers(1, 40_000))
def test_activations_grow_with_the_prompt(tokens: int) -> None:
    one, more = (roofline.activation_bytes(DENSE, n) for n in (tokens, tokens + 1))
    assert 0 < one < more
