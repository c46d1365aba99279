"""Plans with calibration: which weights it is for, what asks for it, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from qdeploy.architectures.task import TaskName
from qdeploy.bundle import Manifest
from qdeploy.calibration.inputs import counts_importance
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint, with_task
from qdeploy.errors import InputError, PlanError, ProfileError
from qdeploy.planning.calibration import DEFAULT_TEXTS, Calibration, CalibrationSettings, choose
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import (
    KVCache,
    Profile,
    Weights,
    load_profile,
    parse_profile,
    profile_source,
)
from qdeploy.quantization.precision import DType, Precision
from qdeploy.targets import CPU
from tests.support import quantized as q
from tests.support import tiny
from tests.support.bundles import scripted_bundle
from tests.support.checkpoints import write_checkpoint

DEFAULT = Calibration(16384, 0, importance=True)
INT4 = Precision(dtype="int4", group_size=32)
TABLE = CalibrationSettings(tokens=4096, seed=7, importance=False)


def plan(
    found: Checkpoint,
    linear: Precision = INT4,
    calibration: Calibration | None = DEFAULT,
    table: CalibrationSettings | None = None,
    **options: Any,
) -> Plan:
    profile = Profile(
        name="made-up", schema=1, target="cpu", format="onnx", why="a test",
        weights=Weights(linear=linear), kv_cache=KVCache(dtype="fp32"), calibration=table,
    )  # fmt: skip
    return make_plan(found, profile, CPU, calibration=calibration, **options)


def awq(folder: Path) -> Checkpoint:
    q.write_quantized(folder, q.awq, q.awq_settings())
    return read_checkpoint(folder)


@pytest.mark.parametrize("config", [tiny.DENSE, tiny.SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("dtype", ["int4", "int8"])
def test_linear_weights_are_calibrated_and_no_others(
    config: dict[str, Any], dtype: DType, tmp_path: Path
) -> None:
    found = read_checkpoint(tiny.write(tmp_path / "model", config))
    made = plan(found, Precision(dtype=dtype, group_size=32))
    assert {t.role for t in made.tensors if t.calibrated} == {"linear"}
    assert all(t.calibrated for t in made.tensors if t.role == "linear")
    assert any(t.calibrated for t in made.tensors if t.expert) == bool(config.get("num_experts"))
    assert made.linear_label == f"{dtype} asym g32 (calibrated)"
    assert f"{dtype} asym g32 (calibrated)" in made.by_precision()
    plain = plan(found, Precision(dtype=dtype, group_size=32), None)
    assert "calibrated" not in str(plain.summary()["by_precision"])
    assert made.bundle_bytes == plain.bundle_bytes


def test_a_group_that_does_not_fit_is_calibrated_in_its_fallback(tmp_path: Path) -> None:
    found = read_checkpoint(tiny.write(tmp_path / "model", tiny.DENSE))
    made = plan(found, Precision(dtype="int4", group_size=64))
    fallen = [t for t in made.fallbacks() if t.role == "linear"]
    assert fallen
    assert all(t.calibrated for t in fallen)


def test_models_that_embed_are_calibrated_too(tmp_path: Path) -> None:
    found = with_task(read_checkpoint(write_checkpoint(tmp_path / "model")), "embed")
    assert any(t.calibrated for t in plan(found).tensors)


def test_codes_that_are_kept_are_not_calibrated(tmp_path: Path) -> None:
    found = awq(tmp_path)
    with pytest.raises(PlanError, match="quantized already, by awq, and their codes are kept") as e:
        plan(found)
    assert e.value.where == found.name
    assert e.value.fix == "leave --calibrate out, or add --requantize"
    again = plan(found, requantize=True)
    assert again.linear_label == "int4 asym g32 (calibrated)"
    assert "dequantized and rounded again" in again.warnings[0]


def test_only_what_is_not_kept_is_calibrated(tmp_path: Path) -> None:
    settings = q.awq_settings(modules_to_not_convert=["self_attn"])
    q.write_quantized(tmp_path, q.awq, settings, floats=["self_attn"])
    made = plan(read_checkpoint(tmp_path))
    linears = [t for t in made.tensors if t.role == "linear"]
    assert {bool(t.scheme) for t in linears} == {True, False}
    assert all(t.calibrated != bool(t.scheme) for t in linears)


@pytest.mark.parametrize("dtype", ["fp16", "fp8", "nf4"])
def test_a_profile_without_integers_has_nothing_to_calibrate(dtype: DType, tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path / "model"))
    with pytest.raises(PlanError, match=f"stores linear weights as {dtype}") as caught:
        plan(found, Precision(dtype=dtype))
    assert caught.value.fix is not None
    assert caught.value.fix.startswith("leave --calibrate out, or give a --profile of int4")


def test_the_fix_for_a_profile_that_asks_itself_is_an_option(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        plan(awq(tmp_path), table=TABLE)
    assert caught.value.fix == "add --no-calibrate, or add --requantize"


def test_the_summary_says_how(tmp_path: Path) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path / "model"))
    assert plan(found, calibration=None).summary()["calibration"] is None
    assert plan(found).summary()["calibration"] == {
        "tokens": 16384, "seed": 0, "importance": True, "texts": DEFAULT_TEXTS,
    }  # fmt: skip
    mine = Calibration(256, 1, importance=False, texts=tmp_path / "mine.txt")
    summary = plan(found, calibration=mine).summary()
    assert summary["calibration"]["texts"] == "mine.txt"
    assert str(tmp_path) not in str(summary)


@pytest.mark.parametrize("importance", [True, False])
@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_tokens_have_no_importance_for_a_model_that_predicts_none(
    task: TaskName, importance: bool, tmp_path: Path
) -> None:
    """What the plan says is what is done and what decides the name in the cache."""
    found = read_checkpoint(write_checkpoint(tmp_path / "model"))
    asked = Calibration(300, 7, importance=importance, texts=tmp_path / "mine.txt")
    made = plan(with_task(found, task), calibration=asked)
    assert made.calibration == dataclasses.replace(asked, importance=False)
    assert made.summary()["calibration"]["importance"] is False
    assert not counts_importance(made)


@pytest.mark.parametrize("importance", [True, False])
def test_a_model_that_generates_has_the_importance_that_is_asked_for(
    importance: bool, tmp_path: Path
) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path / "model"))
    made = plan(found, calibration=Calibration(300, 7, importance=importance))
    assert made.calibration is not None
    assert made.calibration.deciding() == [300, 7, importance, None]
    assert counts_importance(made) == importance


class TestChoice:
    def test_nothing_asks_for_it(self) -> None:
        assert choose(None) is None
        assert choose(None, calibrate=False) is None

    def test_a_profiles_table_asks_for_it(self) -> None:
        assert choose(TABLE) == Calibration(4096, 7, importance=False)
        assert choose(TABLE, calibrate=False) is None

    def test_options_ask_for_it_and_go_before_the_table(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("Text.")
        assert choose(None, calibrate=True) == DEFAULT
        assert choose(TABLE, tokens=300) == Calibration(300, 7, importance=False)
        assert choose(None, seed=0) == DEFAULT
        chosen = choose(None, texts=tmp_path / "mine.txt")
        assert chosen is not None
        assert chosen.texts == tmp_path / "mine.txt"

    @pytest.mark.parametrize("options", [{"tokens": 300}, {"seed": 0}, {"texts": Path("x")}])
    def test_options_that_contradict_one_another(self, options: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="--no-calibrate forbids it"):
            choose(TABLE, calibrate=False, **options)

    @pytest.mark.parametrize("options", [{"tokens": 255}, {"tokens": 2**20 + 1}, {"seed": -1}])
    def test_numbers_out_of_range(self, options: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=next(iter(options))):
            choose(None, **options)

    @pytest.mark.parametrize("name", ["missing.txt", "."])
    def test_a_file_that_cannot_be_read(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read") as caught:
            choose(None, texts=tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_what_decides_the_codes_is_the_content_of_a_file_and_not_its_place(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one.txt", "two.txt")]
    for place in places:
        place.write_text("The same.")
    one, two = (Calibration(256, 0, importance=True, texts=p).deciding() for p in places)
    assert one == two
    places[1].write_text("Another.")
    assert Calibration(256, 0, importance=True, texts=places[1]).deciding() != one
    assert Calibration(256, 1, importance=True, texts=places[0]).deciding() != one


class TestProfile:
    def test_the_table_is_read_strictly(self) -> None:
        text = profile_source("cpu-int4") + "\n[calibration]\n"
        assert parse_profile(text, "mine", where="t").calibration == CalibrationSettings()
        assert parse_profile(f"{text}tokens = 512", "mine", where="t").calibration is not None
        with pytest.raises(ProfileError, match=r"unknown key 'calibration\.token'") as caught:
            parse_profile(f"{text}token = 512", "mine", where="t")
        assert caught.value.fix == "did you mean 'tokens'?"
        with pytest.raises(ProfileError, match=r"calibration\.tokens"):
            parse_profile(f"{text}tokens = 5", "mine", where="t")

    def test_a_profile_without_it_is_written_as_before(self, tmp_path: Path) -> None:
        plain = load_profile("cpu-int4")
        for dumped in (plain.model_dump(), plain.model_dump(mode="json", by_alias=True)):
            assert "calibration" not in dumped
        assert "calibration" not in plain.model_dump_json()
        made = scripted_bundle(tmp_path / "out").manifest
        assert "calibration" not in made.profile.model_dump()

    def test_one_with_it_returns_from_a_manifest(self, tmp_path: Path) -> None:
        made = scripted_bundle(tmp_path / "out").manifest
        profile = made.profile.model_copy(update={"calibration": TABLE})
        written = made.model_copy(update={"profile": profile}).to_json()
        assert Manifest.model_validate_json(written).profile.calibration == TABLE
