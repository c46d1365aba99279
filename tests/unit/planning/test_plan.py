"""The plan: the precision of every tensor, the size of the bundle, and the bytes read per token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.architectures.table import parse_config
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import PlanError
from qdeploy.exporters.native import NativeExporter
from qdeploy.planning.formats import stored_bytes
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import KVCache, load_profile
from qdeploy.quantization.precision import BITS, PER_CHANNEL, Precision
from qdeploy.targets import CUDA, INTEL_CPU
from tests.support.checkpoints import MOE, SMALL, shape_of_0_6b, write_checkpoint

INT4 = load_profile("intel-cpu-int4")
ROLES = ("linear", "embedding", "lm_head", "router", "norm")
GROUPS = [16, 32, 64, 128, 256]


def plan_of(folder: Path, config: dict[str, Any] = SMALL, **options: Any) -> Plan:
    found = read_checkpoint(write_checkpoint(folder, config), name="made-up")
    return make_plan(found, options.pop("with_profile", INT4), INTEL_CPU, **options)


def of_tensor(columns: int, group: int, fallback: str = "smaller") -> Precision:
    """Return the planned precision of a linear weight with this number of columns."""
    weights = INT4.weights.model_copy(
        update={"linear": Precision(dtype="int4", group_size=group), "group_fallback": fallback}
    )
    tensor = TensorInfo("model.layers.0.mlp.up_proj.weight", (8, columns), "BF16", "f")
    described = Checkpoint("one", Path(), parse_config(SMALL), (tensor,))
    made = make_plan(described, INT4.model_copy(update={"weights": weights}), INTEL_CPU)
    return made.tensors[0].precision


def test_every_role_gets_the_precision_that_the_profile_gives_it(tmp_path: Path) -> None:
    made = plan_of(tmp_path, SMALL | MOE | {"tie_word_embeddings": False})
    by_role = {t.role: str(t.precision) for t in made.tensors}
    assert by_role == {
        "embedding": "int8 asym channel",
        "lm_head": "int8 asym channel",
        "linear": "int4 asym g128",
        "router": "fp16",
        "norm": "fp16",
    }


def test_the_router_is_the_mlps_gate_and_gate_projections_are_not(tmp_path: Path) -> None:
    made = plan_of(tmp_path, SMALL | MOE)
    routers = [t.name for t in made.tensors if t.role == "router"]
    assert routers == [f"model.layers.{i}.mlp.gate.weight" for i in range(2)]


def test_the_table_of_precisions_adds_up_to_the_whole(tmp_path: Path) -> None:
    made = plan_of(tmp_path, SMALL | MOE)
    rows = made.by_precision().values()
    assert sum(r["tensors"] for r in rows) == len(made.tensors)
    assert sum(r["parameters"] for r in rows) == made.checkpoint.parameters
    assert sum(r["bytes"] for r in rows) == made.weight_bytes
    assert [r["bytes"] for r in rows] == sorted((r["bytes"] for r in rows), reverse=True)


def test_a_tied_head_is_stored_once_even_if_the_checkpoint_has_it_twice(tmp_path: Path) -> None:
    head = {"lm_head.weight": (SMALL["vocab_size"], SMALL["hidden_size"])}
    tied = read_checkpoint(write_checkpoint(tmp_path, extra=head))
    made = make_plan(tied, INT4, INTEL_CPU)
    assert "lm_head.weight" not in {t.name for t in made.tensors}


def test_an_untied_head_is_stored(tmp_path: Path) -> None:
    made = plan_of(tmp_path, SMALL | {"tie_word_embeddings": False})
    assert "lm_head.weight" in {t.name for t in made.tensors}


def test_the_published_0_6b_takes_about_what_its_int4_bundles_take(tmp_path: Path) -> None:
    """By hand: 155.6 M embedding weights in int8, 440.4 M linear ones in int4, groups of 128."""
    made = plan_of(tmp_path, shape_of_0_6b())
    embedding = 151936 * 1024 + 151936 * (2 + 1)
    linear = 440_401_920 // 2 + 440_401_920 // 128 * 2 + 440_401_920 // 128 // 2
    norms = 2 * (28 * (2 * 1024 + 2 * 128) + 1024)
    assert made.weight_bytes == embedding + linear + norms


PUBLISHED = {
    "0.6B": (28, 16, 8, 114_688, 60_928),
    "1.7B": (28, 16, 8, 114_688, 60_928),
    "4B": (36, 32, 8, 147_456, 78_336),
    "8B": (36, 32, 8, 147_456, 78_336),
    "14B": (40, 40, 8, 163_840, 87_040),
    "32B": (64, 64, 8, 262_144, 139_264),
    "30B-A3B": (48, 32, 4, 98_304, 52_224),
    "235B-A22B": (94, 64, 4, 192_512, 102_272),
}
"""Layers, heads, key-value heads; bytes of the key-value cache per token in 16 and in 8 bits,
calculated by hand. All eight models have a head_dim of 128 (hidden_size / heads is 64 for 0.6B)."""


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize("dtype", ["fp16", "u8"])
def test_bytes_of_cache_a_token_for_the_published_models(size: str, dtype: str) -> None:
    layers, heads, kv_heads, in_16_bits, in_8_bits = PUBLISHED[size]
    config = parse_config(
        SMALL
        | {
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
        }
    )
    cached = INT4.model_copy(update={"kv_cache": KVCache.model_validate({"dtype": dtype})})
    made = make_plan(Checkpoint(size, Path(), config, ()), cached, INTEL_CPU)
    assert made.kv_bytes_per_token == (in_8_bits if dtype == "u8" else in_16_bits)


class TestLongestContext:
    @pytest.fixture
    def made(self, tmp_path: Path) -> Plan:
        return plan_of(tmp_path)

    def test_is_what_memory_holds_beside_the_weights(self, made: Plan) -> None:
        memory = made.weight_bytes + 100 * made.kv_bytes_per_token
        assert made.longest_context(memory) == 100
        assert made.longest_context(memory - 1) == 99

    def test_is_never_longer_than_the_export(self, made: Plan) -> None:
        assert made.longest_context(2**40) == 2048

    def test_is_none_where_the_weights_alone_do_not_fit(self, made: Plan) -> None:
        assert made.longest_context(made.weight_bytes - 1) == 0


@pytest.mark.parametrize(
    ("context", "fix"),
    [
        (0, "--context 2048, or leave it out"),
        (-1, "--context 2048, or leave it out"),
        (2049, "--context 2048 or less"),
    ],
)
def test_a_context_that_the_model_does_not_have_is_refused(
    context: int, fix: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=f"a context of {context} tokens") as caught:
        plan_of(tmp_path, context=context)
    assert caught.value.fix == fix


@pytest.mark.parametrize(("asked", "planned"), [(None, 2048), (1, 1), (2048, 2048)])
def test_the_context_is_the_models_own_unless_a_shorter_one_is_asked_for(
    asked: int | None, planned: int, tmp_path: Path
) -> None:
    assert plan_of(tmp_path, context=asked).context == planned


def test_a_token_reads_all_linear_weights_and_the_lm_head_but_one_row_of_the_embedding(
    tmp_path: Path,
) -> None:
    tied = plan_of(tmp_path / "tied")
    size = {role: sum(t.nbytes for t in tied.tensors if t.role == role) for role in ROLES}
    assert tied.bytes_per_token == size["linear"] + size["embedding"]
    apart = plan_of(tmp_path / "apart", SMALL | {"tie_word_embeddings": False})
    size = {role: sum(t.nbytes for t in apart.tensors if t.role == role) for role in ROLES}
    assert apart.bytes_per_token == size["linear"] + size["lm_head"]


def test_a_token_reads_the_top_k_experts_only(tmp_path: Path) -> None:
    made = plan_of(tmp_path, SMALL | MOE)
    experts = sum(t.nbytes for t in made.tensors if ".experts." in t.name)
    others = sum(t.nbytes for t in made.tensors if ".experts." not in t.name and t.role != "norm")
    assert made.bytes_per_token == others + experts * 2 // 4
    assert made.summary()["bytes_per_token"] == made.bytes_per_token


def test_a_profile_of_another_target_is_refused(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path))
    with pytest.raises(PlanError, match="is for target 'intel-cpu', not 'cuda'"):
        make_plan(found, INT4, CUDA)


def test_the_summary_survives_json(tmp_path: Path) -> None:
    summary = plan_of(tmp_path, SMALL | {"intermediate_size": 320}).summary()
    assert summary["fallbacks"]
    again = json.loads(json.dumps(summary))
    assert again["by_precision"] == summary["by_precision"]
    assert [f["name"] for f in again["fallbacks"]] == [
        f"model.layers.{i}.mlp.down_proj.weight" for i in range(2)
    ]


def test_a_fallback_of_the_embedding_is_listed_too(tmp_path: Path) -> None:
    groups = Precision(dtype="int4", group_size=128)
    weights = INT4.weights.model_copy(update={"embedding": groups, "lm_head": groups})
    odd = SMALL | {"hidden_size": 320, "tie_word_embeddings": False}
    made = plan_of(tmp_path, odd, with_profile=INT4.model_copy(update={"weights": weights}))
    fallen = {t.role: str(t.precision) for t in made.fallbacks()}
    assert fallen == dict.fromkeys(("embedding", "lm_head", "linear"), "int4 asym g64")


@pytest.mark.parametrize("name", ["intel-cpu-int4", "intel-cpu-int4-onnx"])
def test_a_scalar_among_the_tensors_is_planned(name: str, tmp_path: Path) -> None:
    scalar = {"model.layers.0.self_attn.q_proj.scale": ()}
    found = read_checkpoint(write_checkpoint(tmp_path, extra=scalar))
    made = make_plan(found, load_profile(name), INTEL_CPU)
    assert {t.precision.dtype for t in made.tensors if not t.shape} == {"fp16"}
    assert NativeExporter().why_not(made) is None


@given(st.integers(1, 5000), st.sampled_from(GROUPS))
def test_a_fallback_group_always_divides_the_row(columns: int, wanted: int) -> None:
    got = of_tensor(columns, wanted)
    if got.dtype == "int4":
        assert columns % got.group_size == 0
        assert got.group_size == wanted or 32 <= got.group_size < wanted
    else:
        assert got == Precision(dtype="int8")
        assert all(columns % g for g in GROUPS if g == wanted or 32 <= g < wanted)


@given(st.integers(1, 5000), st.sampled_from(GROUPS))
def test_a_fallback_group_is_the_largest_that_divides_the_row(columns: int, wanted: int) -> None:
    got = of_tensor(columns, wanted)
    if got.dtype == "int4" and got.group_size < wanted:
        assert columns % (2 * got.group_size) != 0


def test_a_profile_may_refuse_the_fallback() -> None:
    with pytest.raises(PlanError, match="does not divide the 320 columns") as caught:
        of_tensor(320, 128, "error")
    assert caught.value.where == "model.layers.0.mlp.up_proj.weight"
    assert of_tensor(256, 128, "error").group_size == 128


def counted(rows: int, columns: int, precision: Precision) -> int:
    """Count the bytes of a quantized weight, element by element."""
    group = columns if precision.group_size == PER_CHANNEL else precision.group_size
    code_bits = zero_point_bits = scale_bytes = 0
    for _ in range(rows):
        for column in range(columns):
            code_bits += BITS[precision.dtype]
            if column % group == 0:
                scale_bytes += 2
                zero_point_bits += 0 if precision.symmetric else BITS[precision.dtype]
    return (code_bits + 7) // 8 + scale_bytes + (zero_point_bits + 7) // 8


@given(
    st.integers(1, 12),
    st.integers(1, 80),
    st.sampled_from(["int4", "int8"]),
    st.booleans(),
    st.sampled_from([PER_CHANNEL, *GROUPS]),
)
def test_stored_bytes_are_codes_scales_and_zero_points(
    rows: int, columns: int, dtype: Any, symmetric: bool, group: int
) -> None:
    precision = Precision(dtype=dtype, symmetric=symmetric, group_size=group)
    assert stored_bytes((rows, columns), precision) == counted(rows, columns, precision)


def test_nf4_has_scales_and_no_zero_points() -> None:
    assert stored_bytes((10, 64), Precision(dtype="nf4")) == 10 * 32 + 10 * 2


def test_stacked_experts_count_as_their_rows() -> None:
    precision = Precision(dtype="int4", group_size=32)
    assert stored_bytes((3, 5, 64), precision) == stored_bytes((15, 64), precision)


@pytest.mark.parametrize("shape", [(0,), (0, 128), (128, 0)])
def test_an_empty_tensor_is_planned_like_any_other(shape: tuple[int, ...]) -> None:
    assert stored_bytes(shape, Precision(dtype="int4", group_size=128)) == 0
