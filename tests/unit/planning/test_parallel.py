"""A model spread over devices as vLLM spreads it: what is cut, what fits, what is refused."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.checkpoint.published.catalogue import find_published
from qdeploy.errors import OutOfMemory, PlanError
from qdeploy.planning.cuts import Cut, find_cuts
from qdeploy.planning.device_memory import of_plan
from qdeploy.planning.layouts import Wanted, choose, layouts, why_not
from qdeploy.planning.parallel import Cluster, Layout, Sizes, Spreader, stage_bounds
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import CUDA

GB = 10**9
CONTEXT = 32_768
BIG, TWO_BIG = Cluster(80 * GB, 8, name="80GB"), Cluster(80 * GB, 8, 2, name="80GB")
H20, RTX = Cluster(96 * GB, 4, name="H20"), Cluster(24 * GB, 2, name="RTX 4090")


@cache
def spreader(name: str, profile: str = "cuda-int4", context: int = CONTEXT) -> Spreader:
    """A published model, planned for vLLM."""
    published = find_published(name)
    assert published is not None
    return Spreader(of_plan(make_plan(published, load_profile(profile), CUDA)), context)


def stored(made: Spreader) -> int:
    """Bytes of all weights once, as one rank holds them."""
    [stage] = made.layout(Sizes(), BIG).stages
    return stage.weights


@pytest.mark.parametrize(
    ("model", "profile", "cluster", "sizes"),
    [
        ("235B-A22B", "cuda-int4", BIG, Sizes(tensor=8, expert=True)),
        ("235B-A22B-FP8", "cuda-fp8", BIG, Sizes(tensor=8, expert=True)),
        ("235B-A22B", "cuda-int4", TWO_BIG, Sizes(tensor=8, pipeline=2, expert=True)),
        ("235B-A22B-FP8", "cuda-fp8", TWO_BIG, Sizes(tensor=8, pipeline=2, expert=True)),
        ("30B-A3B", "cuda-int4", H20, Sizes(tensor=4, expert=True)),
        ("30B-A3B", "cuda-int4", RTX, Sizes(tensor=2)),
        ("32B", "cuda-int4", BIG, Sizes(tensor=8)),
    ],
)
def test_what_people_have(model: str, profile: str, cluster: Cluster, sizes: Sizes) -> None:
    """An expert's 1536 or 768 columns, cut in eight or four, would divide groups of 128."""
    layout = choose(spreader(model, profile), cluster)
    assert layout.sizes == sizes
    assert layout.concurrency >= 1
    assert all(s.weights + s.activations < cluster.usable_bytes for s in layout.stages)


def test_weights_add_up_to_the_model_where_nothing_is_repeated() -> None:
    made = spreader("32B")
    config = made.model.config
    layout = made.layout(Sizes(tensor=8), BIG)
    norms = 2 * (config.layers * (2 * config.hidden + 2 * config.head_dim) + config.hidden)
    assert 8 * layout.stages[0].weights == stored(made) + 7 * norms


def test_key_value_heads_are_repeated_where_there_are_more_ranks() -> None:
    made = spreader("235B-A22B")
    four, eight = (made.layout(Sizes(tensor=n, expert=True), BIG) for n in (4, 8))
    assert (four.kv_heads, four.repeated) == (eight.kv_heads, 1) == (1, 1)
    assert eight.repeated == 2
    assert four.stages[0].cache_of_token == eight.stages[0].cache_of_token


def test_stages_are_those_of_vllm() -> None:
    """Worked out by `get_pp_indices` of vLLM 0.32: of 94 layers, and of 10."""
    assert stage_bounds(94, 4) == [(0, 23), (23, 47), (47, 71), (71, 94)]
    assert stage_bounds(10, 4) == [(0, 2), (2, 5), (5, 8), (8, 10)]
    assert stage_bounds(7, 2) == [(0, 4), (4, 7)]


def test_the_embedding_lies_on_the_first_stage_and_the_head_on_the_last() -> None:
    tied = spreader("0.6B")
    table = 2 * 151_936 * 1024
    parts = tied.layout(Sizes(pipeline=2), RTX).stages
    assert sum(part.weights for part in parts) == stored(tied) + table


def test_cuts_follow_the_graph() -> None:
    dense, moe = find_cuts(spreader("4B").model), find_cuts(spreader("30B-A3B").model)
    layer = "model.layers.3."
    assert {
        name: dense[f"{layer}{name}.weight"]
        for name in ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj")
    } == {
        "self_attn.q_proj": Cut.ROWS,
        "self_attn.v_proj": Cut.KEY_VALUE,
        "self_attn.o_proj": Cut.COLUMNS,
        "mlp.down_proj": Cut.COLUMNS,
    }
    assert moe[f"{layer}mlp.experts.127.down_proj.weight"] is Cut.EXPERT_COLUMNS
    assert f"{layer}mlp.gate.weight" not in moe  # the router
    assert f"{layer}input_layernorm.weight" not in moe


@pytest.mark.parametrize(
    ("model", "sizes", "reason"),
    [
        ("8B", Sizes(tensor=3), "32 attention heads"),
        ("14B", Sizes(tensor=20), "8 key-value heads"),
        ("8B", Sizes(pipeline=37), "36 layers"),
        ("8B", Sizes(tensor=2, expert=True), "no experts"),
        ("30B-A3B", Sizes(tensor=4), "192 of the 768 columns of an expert"),
        ("30B-A3B", Sizes(tensor=32, data=8, expert=True), "128 experts"),
    ],
)
def test_refusals_say_why_and_what_works(model: str, sizes: Sizes, reason: str) -> None:
    refusal = why_not(spreader(model), sizes)
    assert refusal is not None
    assert reason in refusal.reason
    assert refusal.fix


def test_sizes_that_are_asked_for_are_taken_or_refused_with_those_that_work() -> None:
    made = spreader("235B-A22B")
    asked = choose(made, BIG, Wanted(tensor=4))
    assert asked.sizes == Sizes(tensor=4, pipeline=2)
    with pytest.raises(PlanError, match="192 of the 1536") as refused:
        choose(made, BIG, Wanted(tensor=8, expert=False))
    assert refused.value.fix == "--tensor-parallel 8 --pipeline-parallel 1 --expert-parallel"
    with pytest.raises(PlanError, match="does not use 8 devices"):
        choose(made, BIG, Wanted(tensor=5))


def test_what_does_not_fit_is_told_what_would() -> None:
    with pytest.raises(OutOfMemory) as refused:
        choose(spreader("235B-A22B"), RTX)
    fix = refused.value.fix or ""
    nodes = int(fix.split("--nodes ")[1].split(",")[0])
    more = Cluster(RTX.memory_bytes, RTX.per_node, nodes)
    assert choose(spreader("235B-A22B"), more).fits
    fewer = Cluster(RTX.memory_bytes, RTX.per_node, nodes - 1)
    assert not any(layout.fits for layout in layouts(spreader("235B-A22B"), fewer))


@given(
    model=st.sampled_from(["0.6B", "14B", "32B", "30B-A3B"]),
    gigabytes=st.integers(4, 192),
    per_node=st.integers(1, 8),
    nodes=st.integers(1, 4),
    context=st.integers(1, 40_960),
)
def test_layouts_use_every_device_and_none_beyond_its_memory(
    model: str, gigabytes: int, per_node: int, nodes: int, context: int
) -> None:
    cluster = Cluster(gigabytes * GB, per_node, nodes)
    known = spreader(model)
    made = Spreader(known.model, context)
    made.__dict__["shards"] = known.shards  # the same weights, cut before
    for layout in layouts(made, cluster):
        check(made, layout, cluster)


def check(made: Spreader, layout: Layout, cluster: Cluster) -> None:
    sizes, config = layout.sizes, made.model.config
    assert sizes.ranks == cluster.devices
    assert cluster.per_node % sizes.tensor == 0
    assert config.heads % sizes.tensor == 0
    assert layout.kv_heads * sizes.tensor == config.kv_heads * layout.repeated
    layers = [n for stage in layout.stages for n in range(stage.first, stage.last + 1)]
    assert layers == list(range(config.layers))
    for stage in layout.stages:
        assert stage.weights + stage.activations + stage.room == cluster.usable_bytes
        held = stage.weights + stage.activations + layout.cache_tokens * stage.cache_of_token
        assert held <= cluster.usable_bytes or not layout.fits
    whole = sizes.tensor * sum(stage.weights for stage in layout.stages)
    assert whole * (sizes.data if sizes.expert or config.experts else 1) >= stored(made)
