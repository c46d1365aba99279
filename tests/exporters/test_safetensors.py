"""A bundle of the format safetensors is a checkpoint: of the same codes, and read by qdeploy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weight_files import INDEX
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.deploy.export import export
from qdeploy.errors import ExportFailed
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.native.safetensors import shards
from qdeploy.interface import Progress
from qdeploy.planning.plan import Plan
from tests.exporters.test_kept_codes import EXPERTS, KINDS, codes_of
from tests.support import quantized as q
from tests.support import static_inputs as static
from tests.support import tiny
from tests.support.calibrated import SETTINGS
from tests.support.native import FLOAT, resolve
from tests.support.stored_codes import Codes, check_codes, in_safetensors, less_points
from tests.support.tiny import DENSE, SPARSE
from tests.support.weights import bf16

INT4 = '{ dtype = "int4", group_size = 32, symmetric = true }'
ASYMMETRIC = '{ dtype = "int4", group_size = 32 }'
INT8 = '{ dtype = "int8", symmetric = true }'
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "int4 and a head of its own": (DENSE, {"linear": INT4, "head": INT4}),
    "int4 and a head of int8": (DENSE, {"linear": ASYMMETRIC, "head": INT8}),
    "floats and a head in codes": (DENSE, {"head": INT4}),
    "floats": (DENSE, {}),
    "experts": (SPARSE, {"linear": INT4, "head": INT8}),
    "bytes by bytes": (SPARSE, {"linear": INT8, "graph": 'input_activations = "int8"'}),
    "bfloat16": (DENSE, {"linear": INT4, "head": INT4, "graph": 'activations = "bf16"'}),
}  # fmt: skip


def bundle_of(plan: Plan, folder: Path) -> Path:
    assert NativeExporter().why_not(plan) is None
    return export(plan, NativeExporter(), folder, Progress(), force=False).path


def read_back(folder: Path) -> tuple[dict[str, Codes], dict[str, Any]]:
    """The codes and the floats of a bundle, as qdeploy reads those of any checkpoint."""
    found = read_checkpoint(folder)
    check_weights(found)
    codes, floats = {}, {}
    with open_weights(found) as source:
        for weight in found.weights:
            if weight.source.precision is None:
                floats[weight.name] = source.rows(weight.name)
                continue
            made = source.codes(weight.name, 0, weight.shape[0])
            points = np.zeros(made.scales.shape) if made.zero_points is None else made.zero_points
            codes[weight.name] = less_points(made.codes, points, made.scales)
    return codes, floats


@pytest.mark.parametrize("form", FORMS)
def test_it_is_read_as_a_checkpoint_of_the_same_numbers(
    form: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    config, options = FORMS[form]
    plan = resolve(made(config), format="safetensors", **options)
    folder = bundle_of(plan, tmp_path / "bundle")
    codes, floats = read_back(folder)
    assert set(codes) | set(floats) == {t.name for t in plan.tensors}
    weights = tiny.draw(config)
    for name, values in floats.items():
        np.testing.assert_array_equal(values, weights[name], err_msg=name)
    check_codes(in_safetensors(folder), codes)
    again = read_checkpoint(folder)
    assert {w.name: w.source.precision for w in again.weights if w.source.precision} == {
        t.name: t.precision for t in plan.tensors if t.precision.dtype != "fp16"
    }
    assert again.config.tie_word_embeddings == plan.is_tied
    assert all("activations were to be quantized too" in warning for warning in again.warnings)


@pytest.mark.parametrize("config", [DENSE, EXPERTS], ids=["dense", "experts"])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_that_are_kept(kind: str, config: Mapping[str, Any], tmp_path: Path) -> None:
    encode, settings, layer, label = KINDS[kind]
    layers = q.write_quantized(tmp_path / "model", encode, settings, config, **layer)
    plan = resolve(tmp_path / "model", head=INT4, format="safetensors")
    assert plan.summary()["linear"] == label
    folder = bundle_of(plan, tmp_path / "bundle")
    codes, _ = read_back(folder)
    kept = {name: codes_of(layer) for name, layer in layers.items()}
    rounded = {name: found for name, found in codes.items() if name not in kept}
    assert list(rounded) == ["lm_head.weight"]
    check_codes(in_safetensors(folder), kept | rounded)


def test_forms_that_differ_from_layer_to_layer(tmp_path: Path) -> None:
    """A group of the config for each, by the names of its modules."""
    dynamic = {r"+:.*\.q_proj$": {"bits": 8, "group_size": -1}}
    settings = q.gptq_settings(dynamic=dynamic, sym=True)

    def by_name(name: str) -> dict[str, Any]:
        eight = {"bits": 8, "group": -1}
        return {"symmetric": True} | (eight if ".q_proj." in name else {})

    floats = ("layers.0.self_attn.v_proj", "layers.2.mlp.down_proj")
    layers = q.write_quantized(
        tmp_path / "model", q.gptq, settings, DENSE, by_name=by_name, floats=floats
    )
    plan = resolve(tmp_path / "model", format="safetensors")
    folder = bundle_of(plan, tmp_path / "bundle")
    codes, _ = read_back(folder)
    assert set(codes) == set(layers)
    check_codes(in_safetensors(folder), {name: codes_of(layer) for name, layer in layers.items()})
    settings = json.loads((folder / "config.json").read_bytes())["quantization_config"]
    most, queries = (group["targets"] for group in settings["config_groups"].values())
    assert queries == [r"re:^model\.layers\.\d+\.self_attn\.q_proj$"]
    assert r"re:^model\.layers\.\d+\.mlp\.up_proj$" in most
    assert "model.layers.1.self_attn.v_proj" in most
    ignored = ("lm_head", "model.layers.0.self_attn.v_proj", "model.layers.2.mlp.down_proj")
    assert sorted(settings["ignore"]) == list(ignored)


def test_one_form_is_all_of_a_class_and_the_head_by_its_name(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    """A head is found by its name only, by vLLM."""
    for head, targets, ignored in (
        (INT4, ["Linear", "lm_head"], []),
        (FLOAT, ["Linear"], ["lm_head"]),
    ):
        plan = resolve(made(DENSE), linear=INT4, head=head, format="safetensors")
        folder = bundle_of(plan, tmp_path / f"{len(ignored)}")
        settings = json.loads((folder / "config.json").read_bytes())["quantization_config"]
        (group,) = settings["config_groups"].values()
        assert group["targets"] == targets
        assert settings["ignore"] == ignored


@pytest.mark.parametrize("spelled", ["rope_theta", "rope_parameters"])
def test_a_context_that_positions_are_scaled_for_is_in_the_config(
    spelled: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    config = DENSE | {"max_position_embeddings": 40_960, "rope_theta": 1e6}
    if spelled == "rope_parameters":
        config["rope_parameters"] = {"rope_theta": config.pop("rope_theta")}
    plan = resolve(made(config), format="safetensors", context=65_536)
    found = read_checkpoint(bundle_of(plan, tmp_path / "bundle"))
    assert found.config.rope_scaling == plan.rope_scaling
    assert plan.rope_scaling
    assert plan.rope_scaling["rope_type"] == "yarn"
    assert found.warnings == ()
    assert found.decoder.rope_theta == 1e6
    assert found.config.positions == 65_536


def test_experts_are_stored_one_by_one(made: Callable[..., Path], tmp_path: Path) -> None:
    """By the names that vLLM reads, not in the stacks of transformers 5."""
    plan = resolve(made(SPARSE), linear=ASYMMETRIC, format="safetensors")
    folder = bundle_of(plan, tmp_path / "bundle")
    names = {t.name for t in read_checkpoint(folder).tensors if ".layers.1.mlp." in t.name}
    prefix, experts = "model.layers.1.mlp", range(SPARSE["num_experts"])
    parts = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")
    assert names == {f"{prefix}.gate.weight"} | {
        f"{prefix}.experts.{expert}.{kind}_proj.{part}"
        for expert in experts
        for kind in ("gate", "up", "down")
        for part in parts
    }


def test_an_embedding_in_codes_is_refused(tmp_path: Path, made: Callable[..., Path]) -> None:
    rounded = resolve(made(DENSE), embedding=INT8, format="safetensors")
    refusal = NativeExporter().why_not(rounded)
    assert refusal
    assert 'weights.embedding = { dtype = "fp16" }' in str(refusal.fix)
    settings = q.compressed_settings(num_bits=8)
    settings["config_groups"]["group_0"]["targets"] = ["Linear", "Embedding"]
    names = ("model.embed_tokens.weight",)
    q.write_quantized(tmp_path / "model", q.packed, settings, DENSE, also=names, bits=8, exact=bf16)
    kept = resolve(tmp_path / "model", format="safetensors")
    refusal = NativeExporter().why_not(kept)
    assert refusal
    assert "--requantize" in str(refusal.fix)
    taken = resolve(tmp_path / "model", format="safetensors", requantize=True)
    assert NativeExporter().why_not(taken) is None


@pytest.mark.parametrize("linear", [INT4, ASYMMETRIC, '{ dtype = "int8" }'])
def test_inputs_in_bytes_want_weights_in_bytes(linear: str, made: Callable[..., Path]) -> None:
    graph = 'input_activations = "int8"'
    refusal = NativeExporter().why_not(
        resolve(made(DENSE), linear=linear, format="safetensors", graph=graph)
    )
    assert refusal
    assert 'weights.linear = { dtype = "int8", symmetric = true }' in str(refusal.fix)


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_scales_of_inputs_that_calibration_finds(
    config: Mapping[str, Any],
    made: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are stored beside the codes of each linear layer, in any number of files."""
    static.put_in(monkeypatch)
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    plan = resolve(
        made(config), linear=INT8, head=INT8, format="safetensors", graph=static.GRAPH,
        calibration=SETTINGS,
    )  # fmt: skip
    folder = bundle_of(plan, tmp_path / "bundle")
    found = read_checkpoint(folder)
    with open_weights(found) as source:
        scales = {
            t.name: source.codes(t.name, 0, 1).input_scale
            for t in plan.tensors
            if t.role in ("linear", "lm_head") and t.precision.dtype == "int8"
        }
    roles = {t.name: t.role for t in plan.tensors}
    assert "lm_head" in {roles[name] for name in scales}
    for name, scale in scales.items():
        assert scale == (static.scale_of(name) if roles[name] == "linear" else None), name
    assert all("they stay float here" in warning for warning in found.warnings)
    groups = json.loads((folder / "config.json").read_bytes())["quantization_config"][
        "config_groups"
    ].values()
    inputs = [group["input_activations"] for group in groups]
    assert inputs == [
        {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False},
        None,
    ]


def test_scales_of_inputs_want_calibration(made: Callable[..., Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"linear": INT8, "format": "safetensors", "graph": static.GRAPH}
    refusal = NativeExporter().why_not(resolve(made(DENSE), **options))
    assert refusal
    assert "this export has no calibration" in refusal.reason
    assert str(refusal.fix).startswith("add --calibrate, or set graph.input_activations")
    calibrated = resolve(made(DENSE), calibration=SETTINGS, **options)
    assert NativeExporter().why_not(calibrated) is None
    assert NativeExporter().config_changes(calibrated)  # before its calibration is done


def test_scales_of_inputs_want_codes_that_are_calibrated(tmp_path: Path) -> None:
    settings = q.compressed_settings(
        "int-quantized", num_bits=8, symmetric=True, strategy="channel", group_size=None
    )
    q.write_quantized(
        tmp_path / "model", q.signed_bytes, settings, DENSE, bits=8, group=-1, symmetric=True,
        floats=("mlp",),
    )  # fmt: skip
    options: dict[str, Any] = {"linear": INT8, "format": "safetensors", "graph": static.GRAPH}
    kept = resolve(tmp_path / "model", calibration=SETTINGS, **options)
    refusal = NativeExporter().why_not(kept)
    assert refusal
    assert "keeps the codes of compressed-tensors, which are not calibrated" in refusal.reason
    assert str(refusal.fix).startswith("add --requantize, or set graph.input_activations")
    again = resolve(tmp_path / "model", calibration=SETTINGS, requantize=True, **options)
    assert NativeExporter().why_not(again) is None


def test_a_calibration_without_scales_of_inputs_is_refused(
    made: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static.put_in(monkeypatch, lambda name: None)
    plan = resolve(
        made(DENSE), linear=INT8, format="safetensors", graph=static.GRAPH, calibration=SETTINGS
    )
    with pytest.raises(ExportFailed, match="no scale for the layer's inputs"):
        bundle_of(plan, tmp_path / "bundle")


def test_a_large_model_is_in_several_files(
    made: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = resolve(made(SPARSE), linear=INT4, head=INT4, format="safetensors")
    codes, floats = read_back(bundle_of(plan, tmp_path / "whole"))
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    folder = bundle_of(plan, tmp_path / "shards")
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(files) > 4
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    index = json.loads((folder / INDEX).read_bytes())
    assert sorted(set(index["weight_map"].values())) == files
    found = read_checkpoint(folder)
    assert index["metadata"]["total_size"] == found.nbytes
    assert index["weight_map"] == {t.name: t.file for t in found.tensors}
    same_codes, same_floats = read_back(folder)
    check_codes(iter(same_codes.items()), codes)
    np.testing.assert_equal(same_floats, floats)
