"""Plans of checkpoints that are quantized already: what is kept, and what needs --requantize."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint, with_adapter
from qdeploy.errors import PlanError
from qdeploy.exporters.native import NativeExporter
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import Graph, KVCache, Profile, Weights, load_profile
from qdeploy.quantization.precision import Precision
from qdeploy.targets import ASCEND, CPU, INTEL_CPU, INTEL_GPU, INTEL_NPU, ROCM, Target
from tests.support import quantized as q
from tests.support.weights import bf16, f32, save

INT8 = Precision(dtype="int8")
SYM4 = Precision(dtype="int4", symmetric=True, group_size=32)


def plan(
    found: Checkpoint,
    target: Target = CPU,
    format: str = "onnx",
    linear: Precision = INT8,
    graph: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    profile = Profile(
        name="made-up", schema=1, target=target.name, format=format, why="a test",
        weights=Weights(linear=linear), kv_cache=KVCache(dtype="fp16"),
        graph=Graph.model_validate(graph or {}),
    )  # fmt: skip
    return make_plan(found, profile, target, **options)


def awq(folder: Path, **settings: Any) -> Checkpoint:
    q.write_quantized(folder, q.awq, q.awq_settings(**settings))
    return read_checkpoint(folder)


def gptq(folder: Path, settings: Mapping[str, Any], **layer: Any) -> Checkpoint:
    q.write_quantized(folder, q.gptq, q.gptq_settings(**settings), **layer)
    return read_checkpoint(folder)


def test_codes_are_kept_and_the_profile_is_for_floats(tmp_path: Path) -> None:
    made = plan(awq(tmp_path))
    summary = made.summary()
    assert summary["linear"] == "int4 asym g32 (as stored, awq)"
    assert not summary["requantize"]
    assert not made.warnings
    assert not made.fallbacks()
    by_role = {t.role: t.label for t in made.tensors}
    assert by_role["linear"] == "int4 asym g32 (as stored, awq)"
    assert by_role["embedding"] == "int8 asym channel"
    assert set(summary["by_precision"]) == {*by_role.values()}


def test_requantize_is_the_profiles_precision_with_a_warning(tmp_path: Path) -> None:
    made = plan(awq(tmp_path), requantize=True)
    assert made.summary()["linear"] == "int8 asym channel"
    assert made.summary()["requantize"]
    assert "14 weights are quantized already, by awq" in made.warnings[0]


@pytest.mark.parametrize(
    ("settings", "layer", "target", "format", "reason"),
    [
        ({}, {}, INTEL_NPU, "openvino", "the NPU runs symmetric int4 only"),
        ({"bits": 8}, {"bits": 8}, INTEL_NPU, "openvino", "int8 layers"),
        ({}, {}, ROCM, "onnx-static", "zero points in another shape"),
        ({}, {}, ASCEND, "onnx-static", "no operator for four-bit weights"),
        ({"desc_act": True}, {"ordered": True}, CPU, "onnx", r"activation order \(desc_act\)"),
        ({"group_size": 48}, {"group": 48}, CPU, "onnx", "the last group of 48 of its"),
        ({"group_size": 8}, {"group": 8}, CPU, "onnx", "no groups of 8 columns"),
    ],
)  # fmt: skip
def test_what_a_target_does_not_take_is_refused_and_requantize_does_it(
    tmp_path: Path,
    settings: dict[str, Any],
    layer: dict[str, Any],
    target: Target,
    format: str,
    reason: str,
) -> None:
    made = gptq(tmp_path, settings, **layer)
    allowed = SYM4 if target in (INTEL_NPU, ROCM) else INT8
    with pytest.raises(PlanError, match=reason) as raised:
        plan(made, target, format, allowed)
    assert "export --requantize" in str(raised.value.fix)
    again = plan(made, target, format, allowed, requantize=True)
    assert again.linear == allowed


def test_symmetric_codes_go_to_an_npu(tmp_path: Path) -> None:
    made = gptq(tmp_path, {"sym": True}, symmetric=True)
    assert plan(made, INTEL_NPU, "openvino", SYM4).linear_label == "int4 sym g32 (as stored, gptq)"


def test_an_adapter_changes_what_was_stored(tmp_path: Path) -> None:
    made, module = awq(tmp_path / "model"), "model.layers.0.self_attn.q_proj"
    rows, columns = made.stored.sources[f"{module}.weight"].shape
    folder, name = tmp_path / "adapter", f"base_model.model.{module}.lora_"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    halves = {
        f"{name}A.weight": f32(np.ones((2, columns))),
        f"{name}B.weight": f32(np.ones((rows, 2))),
    }
    save(folder / "adapter_model.safetensors", halves)
    changed = with_adapter(made, folder)
    with pytest.raises(PlanError, match="an adapter changes this weight") as raised:
        plan(changed)
    assert raised.value.where == f"{module}.weight"
    assert plan(changed, requantize=True).linear == INT8


@pytest.mark.parametrize(
    ("target", "format", "graph", "taken"),
    [
        (INTEL_CPU, "openvino", {}, True),
        (INTEL_GPU, "openvino", {}, False),
        (CPU, "onnx", {}, True),
        (CPU, "onnx", {"activations": "fp16"}, False),
    ],
)
def test_float32_scales_are_never_rounded(
    tmp_path: Path, target: Target, format: str, graph: dict[str, Any], taken: bool
) -> None:
    def encode(layer: q.Layer) -> q.Parts:
        return q.packed(layer, f32)

    q.write_quantized(tmp_path, encode, q.compressed_settings(), exact=f32)
    made = plan(read_checkpoint(tmp_path), target, format, graph=graph)
    refusal = NativeExporter().why_not(made)
    assert (refusal is None) == taken
    if refusal:
        assert "are float32" in refusal.reason
        assert "export --requantize" in str(refusal.fix)
    wide = plan(read_checkpoint(tmp_path), INTEL_CPU, "openvino").weight_bytes
    halves = tmp_path / "halves"
    q.write_quantized(halves, q.packed, q.compressed_settings(), exact=bf16)
    narrow = plan(read_checkpoint(halves), INTEL_CPU, "openvino").weight_bytes
    assert wide - narrow == 2 * sum(
        t.shape[0] * t.shape[1] // 32 for t in made.tensors if t.role == "linear"
    )


def test_what_the_profile_of_a_plan_that_ships_keeps(tmp_path: Path) -> None:
    made = make_plan(awq(tmp_path), load_profile("cpu-int8"), CPU)
    assert made.linear == Precision(dtype="int4", group_size=32)
