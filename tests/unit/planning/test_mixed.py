"""Plans whose linear weights have several precisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import PlanError
from qdeploy.exporters.native import NativeExporter
from qdeploy.planning import mixed
from qdeploy.planning.linear import average_bits
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile, profile_names
from qdeploy.quantization.precision import Precision
from qdeploy.registry import targets
from tests.support import quantized as q
from tests.support.checkpoints import MOE, SMALL, write_checkpoint

INT4 = Precision(dtype="int4", group_size=128)
INT8 = Precision(dtype="int8")
DOWN = "model.layers.1.mlp.down_proj.weight"
INT4_PROFILES = [n for n in profile_names() if load_profile(n).weights.linear.dtype == "int4"]
MIXABLE = [name for name in INT4_PROFILES if name != "cuda-int4-rtx"]


def plan_of(
    folder: Path, profile: str = "intel-cpu-int4", config: Mapping[str, Any] = SMALL
) -> Plan:
    found = load_profile(profile)
    checkpoint = read_checkpoint(write_checkpoint(folder, dict(config)), name="made-up")
    return make_plan(checkpoint, found, targets()[found.target])


def loss(name: str, precision: Precision) -> float:
    """As of real weights: four bits less cost 200 times as much, a smaller group a part less."""
    weight = 10.0 if name == DOWN else 1.0 + len(name) / 100
    coarse = 0.7 + 0.1 * {32: 1, 64: 2}.get(precision.group_size, 3)
    return weight * coarse / (200 if precision.dtype == "int8" else 1)


def precisions_of(plan: Plan) -> dict[str, Precision]:
    return {t.name: t.precision for t in plan.linears}


def test_the_weight_that_loses_most_gets_eight_bits(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    made = mixed.for_average(plan, loss, 5)
    assert average_bits(made.linears) <= 5
    assert average_bits(made.linears) > 4.8
    assert precisions_of(made)[DOWN] == INT8
    assert {p.dtype for p in precisions_of(made).values()} == {"int4", "int8"}
    others = [t for t in plan.tensors if t.role != "linear"]
    assert [t for t in made.tensors if t.role != "linear"] == others


def test_the_size_of_the_bundle_is_kept_to(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    limit = plan.bundle_bytes * 11 // 10
    made = mixed.for_size(plan, loss, limit)
    assert plan.bundle_bytes < made.bundle_bytes <= limit
    assert made.bundle_bytes - made.weight_bytes == plan.bundle_bytes - plan.weight_bytes


def test_the_summary_says_what_was_mixed(tmp_path: Path) -> None:
    made = mixed.with_precisions(plan_of(tmp_path), {DOWN: INT8})
    summary = made.summary()
    assert summary["linear"] == "int4 asym g128 and int8 asym channel, 4.48 bits on average"
    assert summary["fallbacks"] == []
    assert summary["weight_bytes"] == sum(t.nbytes for t in made.tensors)
    assert made.linear == INT4
    assert {"int4 asym g128", "int8 asym channel"} <= summary["by_precision"].keys()


@pytest.mark.parametrize("config", [SMALL, SMALL | MOE], ids=["dense", "experts"])
@pytest.mark.parametrize("profile", MIXABLE)
def test_every_mix_is_one_that_target_and_exporter_take(
    profile: str, config: dict[str, Any], tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, profile, config)
    if plan.linear.group_size == -1:
        pytest.skip("one scale a row, and no int8: there is no choice")
    assert NativeExporter().why_not(plan) is None
    for share in (0.0, 0.2, 0.5, 0.8):
        least = average_bits(plan.linears)
        made = mixed.for_average(plan, loss, least + share * (8.3 - least))
        assert NativeExporter().why_not(made) is None
        assert {p.symmetric for p in precisions_of(made).values()} == {plan.linear.symmetric}


def test_int8_is_left_out_where_the_target_refuses_it(tmp_path: Path) -> None:
    forms = {
        p for unit in mixed.units(plan_of(tmp_path, "intel-npu-int4")) for p in unit.candidates
    }
    assert {(p.dtype, p.group_size) for p in forms} == {("int4", g) for g in (32, 64, 128)}


def test_groups_are_those_that_the_target_takes(tmp_path: Path) -> None:
    forms = {p for unit in mixed.units(plan_of(tmp_path, "ascend-int4")) for p in unit.candidates}
    assert {p.group_size for p in forms if p.dtype == "int4"} == {64, 128}


def test_groups_divide_the_columns(tmp_path: Path) -> None:
    narrow = plan_of(tmp_path, config=SMALL | {"intermediate_size": 96})
    (unit,) = (unit for unit in mixed.units(narrow) if unit.names == (DOWN,))
    assert {p.group_size for p in unit.candidates if p.dtype == "int4"} == {32}


def names_of(plan: Plan, part: str) -> set[tuple[str, ...]]:
    """What is chosen together with the weights of the first layer whose names have *part*."""
    return {
        tuple(name.removeprefix("model.layers.0.") for name in unit.names)
        for unit in mixed.units(plan)
        if any(f"layers.0.{part}" in name for name in unit.names)
    }


def test_what_vllm_fuses_is_chosen_together(tmp_path: Path) -> None:
    fused = names_of(plan_of(tmp_path / "a", "cuda-int4"), "self_attn")
    qkv = tuple(f"self_attn.{part}_proj.weight" for part in "qkv")
    assert fused == {qkv, ("self_attn.o_proj.weight",)}
    apart = names_of(plan_of(tmp_path / "b", "cpu-int4"), "self_attn")
    assert {len(names) for names in apart} == {1}
    assert len(apart) == 4


@pytest.mark.parametrize(
    ("profile", "sizes"),
    [
        ("cuda-int4", [12]),  # vLLM: one scheme
        ("cpu-int4", [12]),  # QMoE: one form
        ("intel-cpu-int4", [4, 4, 4]),  # one stack a projection
        ("rocm-int4-onnx", [1] * 12),
    ],
)
def test_experts_are_chosen_together_as_the_format_holds_them(
    profile: str, sizes: list[int], tmp_path: Path
) -> None:
    found = names_of(plan_of(tmp_path, profile, SMALL | MOE), "mlp.experts")
    assert sorted(map(len, found)) == sizes


def test_too_few_bits_are_refused_with_what_would_do(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(PlanError, match=r"4 bits, is below the 4\.16 bits") as refusal:
        mixed.for_average(plan, loss, 4)
    assert str(refusal.value.fix).startswith("4.16 bits or more")
    assert average_bits(mixed.for_average(plan, loss, 4.16).linears) <= 4.16
    with pytest.raises(PlanError, match="that the smallest choice takes"):
        mixed.for_size(plan, loss, 1000)


def test_too_many_bits_give_the_best_and_say_so(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for made in (mixed.for_average(plan, loss, 16), mixed.for_size(plan, loss, 10**12)):
        assert set(precisions_of(made).values()) == {INT8}
        assert "is above the" in made.warnings[-1]
    assert not mixed.for_average(plan, loss, 5).notes


@pytest.mark.parametrize(
    ("profile", "said"),
    [("cuda-int4-rtx", "nothing to choose"), ("intel-cpu-int8", "int8 asym channel")],
)
def test_profiles_without_a_choice_are_refused(profile: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=said):
        mixed.for_average(plan_of(tmp_path, profile), loss, 5)


@pytest.mark.parametrize(
    ("profile", "precisions", "said"),
    [
        ("intel-cpu-int4", {"model.norm.weight": INT8}, "no linear weight"),
        ("intel-cpu-int4", {"other": INT8}, "no linear weight"),
        ("intel-npu-int4", {DOWN: Precision(dtype="int8", symmetric=True)}, "NPU compiler"),
        ("intel-cpu-int4", {DOWN: Precision(dtype="int4", group_size=1024)}, "512 columns"),
        (
            "cuda-int4",
            {"model.layers.0.self_attn.k_proj.weight": Precision(dtype="int8", symmetric=True)},
            "in one precision",
        ),
    ],
)
def test_precisions_that_cannot_be_are_refused(
    profile: str, precisions: dict[str, Precision], said: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=said):
        mixed.with_precisions(plan_of(tmp_path, profile), precisions)


def test_codes_that_are_kept_are_not_chosen(tmp_path: Path) -> None:
    q.write_quantized(tmp_path, q.awq, q.awq_settings())
    checkpoint, profile = read_checkpoint(tmp_path), load_profile("cpu-int4-openvino")
    kept = make_plan(checkpoint, profile, targets()["cpu"])
    with pytest.raises(PlanError, match="are kept") as refusal:
        mixed.for_average(kept, loss, 5)
    assert "--requantize" in str(refusal.value.fix)
    with pytest.raises(PlanError, match="are kept"):
        mixed.with_precisions(kept, {kept.linears[0].name: INT8})
    again = make_plan(checkpoint, profile, targets()["cpu"], requantize=True)
    assert average_bits(mixed.for_average(again, loss, 5).linears) <= 5
