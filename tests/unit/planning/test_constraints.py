"""Planning refuses what a target cannot run, with the reason and a fix."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import PlanError, QdeployError
from qdeploy.planning import constraints
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import KVCache, Profile, Runtime, Weights, load_profile, profile_names
from qdeploy.quantization.precision import Precision
from qdeploy.targets import (
    ASCEND,
    BUILT_IN,
    CPU,
    CUDA,
    DCU,
    INTEL_CPU,
    INTEL_GPU,
    INTEL_NPU,
    ROCM,
    Constraint,
    Target,
)
from tests.support.checkpoints import SMALL, write_checkpoint

INT4 = Precision(dtype="int4", symmetric=True, group_size=128)
NF4 = Precision(dtype="nf4")


def profile_of(linear: Precision, target: Target = INTEL_NPU, **properties: Any) -> Profile:
    return Profile(
        name="made-up", schema=1, target=target.name, format="openvino", why="a test",
        weights=Weights(linear=linear), kv_cache=KVCache(dtype="fp16"),
        runtime=Runtime(properties=properties),
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(write_checkpoint(tmp_path_factory.mktemp("small")))


@pytest.mark.parametrize(
    ("made", "reason", "fix"),
    [
        (profile_of(Precision(dtype="int8")), "int8", "int4"),
        (profile_of(Precision(dtype="int8", symmetric=True)), "int8", "int4"),
        (profile_of(Precision(dtype="int4", group_size=128)), "symmetric int4 only", "symmetric"),
        (profile_of(NF4), "Lunar Lake", "NPU_PLATFORM"),
        (profile_of(NF4, NPU_PLATFORM="3720"), "Lunar Lake", "NPU_PLATFORM"),
        (
            profile_of(Precision(dtype="nf4", group_size=64), NPU_PLATFORM="4000"),
            "one scale a row",
            "group_size = -1",
        ),
    ],
)
def test_the_npu_refuses(small: Checkpoint, made: Profile, reason: str, fix: str) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(small, made, INTEL_NPU)
    assert "cannot run on intel-npu" in caught.value.what
    assert reason in caught.value.what
    assert fix in (caught.value.fix or "")


@pytest.mark.parametrize("platform", ["4000", "5010", 4000])
def test_lunar_lake_and_later_take_nf4_a_row(small: Checkpoint, platform: str | int) -> None:
    made = make_plan(small, profile_of(NF4, NPU_PLATFORM=platform), INTEL_NPU)
    assert made.linear == NF4


@pytest.mark.parametrize("linear", [Precision(dtype="int8"), Precision(dtype="int4"), NF4], ids=str)
def test_constraints_of_the_npu_apply_to_no_other_target(
    small: Checkpoint, linear: Precision
) -> None:
    assert make_plan(small, profile_of(linear, INTEL_CPU), INTEL_CPU).linear == linear


def test_a_row_that_would_fall_back_to_int8_is_refused_where_int8_cannot_run(
    tmp_path: Path,
) -> None:
    """A fallback to int8 obeys the same constraints as the profile."""
    odd = read_checkpoint(write_checkpoint(tmp_path, SMALL | {"intermediate_size": 500}))
    on_cpu = make_plan(odd, profile_of(INT4, INTEL_CPU), INTEL_CPU)
    assert {str(t.precision) for t in on_cpu.fallbacks()} == {"int8 asym channel"}
    with pytest.raises(PlanError, match="int8") as caught:
        make_plan(odd, profile_of(INT4), INTEL_NPU)
    assert caught.value.where == "model.layers.0.mlp.down_proj.weight"


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_meets_the_constraints_of_its_target(
    small: Checkpoint, name: str
) -> None:
    shipped = load_profile(name)
    kind = next(t for t in BUILT_IN if t.name == shipped.target)
    assert make_plan(small, shipped, kind).profile == shipped
    for rule in shipped.rules:
        large = shipped.model_copy(
            update={"weights": Weights(linear=rule.linear), "rules": ()},
        )
        assert make_plan(small, large, kind).linear == rule.linear


def profile_in(target: Target, linear: Precision, format: str, **graph: Any) -> Profile:
    made = profile_of(linear, target).model_dump() | {"schema": 1, "format": format, "graph": graph}
    return Profile.model_validate({k: v for k, v in made.items() if k != "schema_version"})


INT8 = Precision(dtype="int8", symmetric=True)
FP16 = Precision(dtype="fp16")
FP8 = Precision(dtype="fp8")
ASYMMETRIC = Precision(dtype="int4", group_size=128)


@pytest.mark.parametrize(
    ("target", "linear", "format", "reason", "fix"),
    [
        (ASCEND, FP16, "onnx", "none of ONNX Runtime's", "onnx-static"),
        (ASCEND, INT4, "onnx-static", "no operator for four-bit weights", "ascend-int8-onnx"),
        (ROCM, INT4, "onnx", "for every shape", "onnx-static"),
        (ROCM, ASYMMETRIC, "onnx-static", "zero points", "symmetric = true"),
        (ASCEND, FP8, "safetensors", "not FP8", "ascend-int8"),
        (DCU, FP8, "safetensors", "FP8 on NVIDIA's and AMD's", "dcu-int8"),
        (INTEL_CPU, INT4, "onnx", "leaves GroupQueryAttention", 'attention = "plain"'),
        (INTEL_GPU, INT4, "onnx", "leaves GroupQueryAttention", 'attention = "plain"'),
    ],
)
def test_what_runs_a_format_on_a_target_refuses(
    small: Checkpoint,
    target: Target,
    linear: Precision,
    format: str,
    reason: str,
    fix: str,
) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(small, profile_in(target, linear, format), target)
    assert f"cannot run on {target.name}" in caught.value.what
    assert reason in caught.value.what
    assert fix in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("target", "linear", "format", "graph"),
    [
        (ASCEND, INT8, "onnx-static", {}),
        (ROCM, INT4, "onnx-static", {}),
        (ROCM, INT8, "onnx-static", {}),
        (INTEL_CPU, INT4, "onnx", {"attention": "plain"}),
        (CPU, ASYMMETRIC, "onnx", {}),
        (CUDA, ASYMMETRIC, "onnx", {}),
        (CUDA, FP8, "safetensors", {}),
        (ROCM, FP8, "safetensors", {}),
    ],
)
def test_what_runs_a_format_on_a_target_accepts(
    small: Checkpoint,
    target: Target,
    linear: Precision,
    format: str,
    graph: dict[str, str],
) -> None:
    made = profile_in(target, linear, format, **graph)
    assert make_plan(small, made, target).linear == linear


def torch_profile(linear: Precision) -> Profile:
    return profile_in(ASCEND, linear, "safetensors")


@pytest.mark.parametrize("group", [32, 256])
def test_ascend_takes_four_bits_in_groups_of_64_and_128_only(small: Checkpoint, group: int) -> None:
    for taken in (64, 128, -1):
        linear = INT4.model_copy(update={"group_size": taken})
        assert make_plan(small, torch_profile(linear), ASCEND).linear == linear
    refused = torch_profile(INT4.model_copy(update={"group_size": group}))
    with pytest.raises(PlanError, match="those of 64 and 128 four-bit weights only") as caught:
        make_plan(small, refused, ASCEND)
    assert "the profile ascend-int8" in (caught.value.fix or "")


def test_a_row_that_would_fall_back_to_a_group_that_cannot_run_is_refused(tmp_path: Path) -> None:
    odd = read_checkpoint(write_checkpoint(tmp_path, SMALL | {"intermediate_size": 96}))
    with pytest.raises(PlanError, match="int4 sym g32") as caught:
        make_plan(odd, torch_profile(INT4), ASCEND)
    assert caught.value.fix == "set weights.linear.group_size = -1"
    a_row = torch_profile(INT4.model_copy(update={"group_size": -1}))
    assert make_plan(odd, a_row, ASCEND).fallbacks() == []


def test_every_constraint_of_a_target_names_keys_that_profiles_have() -> None:
    for target in BUILT_IN:
        for key in {key for c in target.constraints for key in (*c.when, *c.unless)}:
            asks = Constraint(when={}, unless={key: ()}, reason="?", fix="?")
            row = dataclasses.replace(target, constraints=(asks,))
            assert constraints.broken_by(profile_of(INT4, row), row, INT4) is asks


ABACUS = Target(
    "abacus",
    "beads",
    "cpu",
    constraints=(
        Constraint(
            when={"weights.linear.dtype": ("int4",), "kv_cache.dtype": ("fp16", "fp32")},
            unless={"runtime.properties.BEADS": ("16",)},
            reason="it has ten beads a row",
            fix="set runtime.properties.BEADS = 16",
        ),
    ),
)


def test_constraints_of_a_third_partys_target_apply(small: Checkpoint) -> None:
    with pytest.raises(PlanError, match="cannot run on abacus: it has ten beads") as caught:
        make_plan(small, profile_of(INT4, ABACUS), ABACUS)
    assert caught.value.fix == "set runtime.properties.BEADS = 16"
    for taken in (profile_of(INT4, ABACUS, BEADS=16), profile_of(INT8, ABACUS)):
        assert make_plan(small, taken, ABACUS).profile == taken


@pytest.mark.parametrize("key", ["weights.linear.dtpye", "graf.attention", "why.not"])
def test_a_constraint_on_a_key_that_no_profile_has_is_an_error(key: str, small: Checkpoint) -> None:
    wrong = dataclasses.replace(
        ABACUS, constraints=(Constraint(when={key: ("x",)}, reason="?", fix="?"),)
    )
    with pytest.raises(QdeployError, match=f"of target abacus names no key of a profile: '{key}'"):
        make_plan(small, profile_of(INT4, wrong), wrong)
