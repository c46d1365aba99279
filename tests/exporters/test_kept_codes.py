"""Codes that a checkpoint stores reach every format as they are, and mean the same there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.errors import Refusal
from qdeploy.exporters.native import NativeExporter
from tests.exporters.variants import tokens
from tests.support import forward, tiny
from tests.support import quantized as q
from tests.support.native import FLOAT, export, resolve
from tests.support.onnx_models import DynamicShapeModel, StaticShapeModel
from tests.support.running import Model
from tests.support.stored_codes import Codes, check_codes, in_onnx, in_openvino
from tests.support.tiny import DENSE, SPARSE
from tests.support.weights import bf16, f32

STATIC = "context = 64\nprefill = 16"
SYMMETRIC = {"symmetric": True}
CHANNEL = {"strategy": "channel", "group_size": None}
INT8 = {"bits": 8, "group": -1, "symmetric": True, "exact": f32}
KINDS: dict[str, tuple[q.Encode, Mapping[str, Any], Mapping[str, Any], str]] = {
    "awq": (q.awq, q.awq_settings(), {}, "int4 asym g32 (as stored, awq)"),
    "gptq sym": (
        q.gptq, q.gptq_settings(sym=True), SYMMETRIC, "int4 sym g32 (as stored, gptq)",
    ),
    "gptq of 8 bits": (
        q.gptq, q.gptq_settings(bits=8), {"bits": 8}, "int8 asym g32 (as stored, gptq)",
    ),
    "packed": (
        q.packed, q.compressed_settings(), {"exact": bf16},
        "int4 asym g32 (as stored, compressed-tensors)",
    ),
    "int8 by rows": (
        q.signed_bytes,
        q.compressed_settings("int-quantized", num_bits=8, **SYMMETRIC, **CHANNEL), INT8,
        "int8 sym channel (as stored, compressed-tensors)",
    ),
}  # fmt: skip
FORMATS: dict[str, tuple[str, str]] = {
    "openvino": ("openvino", ""), "onnx": ("onnx", ""), "static": ("onnx-static", STATIC),
}  # fmt: skip
OPEN: dict[str, Callable[[Path], Model | DynamicShapeModel | StaticShapeModel]] = {
    "openvino": Model, "onnx": DynamicShapeModel, "static": StaticShapeModel,
}  # fmt: skip
EXPERTS = SPARSE | {"moe_intermediate_size": 96}
"""Rows of one length, so that those with one scale have blocks of one size."""
CLOSE = 1e-4
OPENVINO_CLOSE = 1e-3
"""It multiplies codes with float16 scales in float16 where it folds them."""


def codes_of(layer: q.Layer) -> Codes:
    integers = layer.codes - layer.zero_points[:, layer.order]
    return Codes(integers.astype(np.int32), layer.scales)


def logits_of(config: Mapping[str, Any], layers: Mapping[str, q.Layer], ids: Any) -> Any:
    weights = tiny.draw(config) | {name: layer.values for name, layer in layers.items()}
    return forward.logits(config, weights.__getitem__, ids[0].tolist())[None]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("config", [DENSE, EXPERTS], ids=["dense", "experts"])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_logits(
    kind: str, config: Mapping[str, Any], format: str, tmp_path: Path
) -> None:
    encode, settings, layer, label = KINDS[kind]
    layers = q.write_quantized(tmp_path / "model", encode, settings, config, **layer)
    name, graph = FORMATS[format]
    plan = resolve(tmp_path / "model", linear=FLOAT, embedding=FLOAT, format=name, graph=graph)
    assert plan.summary()["linear"] == label
    refusal = NativeExporter().why_not(plan)
    if format == "static" and kind == "gptq of 8 bits":
        assert refusal
        assert "has one scale a row" in refusal.reason
        assert "--requantize" in str(refusal.fix)
        return
    folder = export(plan, tmp_path / "bundle")
    wanted = {name: codes_of(layer) for name, layer in layers.items()}
    if format == "openvino":
        check_codes(in_openvino(folder), wanted)
    else:
        check_codes(in_onnx(folder, "prefill.onnx" if graph else "model.onnx"), wanted)
    if format == "onnx" and config is EXPERTS and "int8" in label:
        return  # `QMoE` rounds activations to int8 where its weights have eight bits
    ids = tokens(12)
    got = OPEN[format](folder).feed(ids)
    close = OPENVINO_CLOSE if format == "openvino" else CLOSE
    assert np.abs(got - logits_of(config, layers, ids)).max() < close


@pytest.mark.parametrize("format", FORMATS)
def test_forms_that_differ_within_a_product(format: str, tmp_path: Path) -> None:
    """A query in eight bits beside a key in four and a value in floats, which are one product."""
    dynamic = {r"+:.*\.q_proj$": {"bits": 8, "group_size": -1}}
    settings = q.gptq_settings(dynamic=dynamic, sym=True)

    def by_name(name: str) -> dict[str, Any]:
        eight = {"bits": 8, "group": -1}
        return SYMMETRIC | (eight if ".q_proj." in name else {})

    layers = q.write_quantized(
        tmp_path / "model", q.gptq, settings, DENSE, by_name=by_name, floats=(".v_proj.",)
    )
    name, graph = FORMATS[format]
    plan = resolve(tmp_path / "model", linear=FLOAT, embedding=FLOAT, format=name, graph=graph)
    folder = export(plan, tmp_path / "bundle")
    ids = tokens(12)
    got = OPEN[format](folder).feed(ids)
    close = OPENVINO_CLOSE if format == "openvino" else CLOSE
    assert np.abs(got - logits_of(DENSE, layers, ids)).max() < close


@pytest.mark.parametrize("exact", [f32, bf16])
def test_openvino_keeps_codes_of_float32_scales(
    exact: Callable[[Any], Any], tmp_path: Path
) -> None:
    """Its CPU plugin multiplies by the codes, and does not unfold them to floats."""
    settings = q.compressed_settings()

    def encode(layer: q.Layer) -> q.Parts:
        return q.packed(layer, exact)

    q.write_quantized(tmp_path / "model", encode, settings, DENSE, exact=exact)
    folder = export(resolve(tmp_path / "model", embedding=FLOAT), tmp_path / "bundle")
    model = Model(folder)
    runtime = model.compiled.get_runtime_model()
    kinds: Counter[str] = Counter()
    for node in runtime.get_ordered_ops():
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected":
            kinds[node.input(1).get_element_type().get_type_name()] += 1
    assert kinds["u4"] == 7 * DENSE["num_hidden_layers"]


def test_experts_in_several_forms(tmp_path: Path) -> None:
    dynamic = {r"+:.*\.experts\.1\.": {"bits": 8}}

    def by_name(name: str) -> dict[str, Any]:
        return {"bits": 8} if ".experts.1." in name else {}

    settings = q.gptq_settings(dynamic=dynamic)
    layers = q.write_quantized(tmp_path / "model", q.gptq, settings, SPARSE, by_name=by_name)
    fixes = {"openvino": "--requantize", "safetensors": "--requantize"}
    for name, fix in (*fixes.items(), ("onnx", 'graph.experts = "unrolled"')):
        refusal = NativeExporter().why_not(resolve(tmp_path / "model", format=name))
        assert refusal
        assert "several" in refusal.reason
        assert fix in str(refusal.fix)
    unrolled = resolve(tmp_path / "model", format="onnx", graph='experts = "unrolled"')
    folder = export(unrolled, tmp_path / "bundle")
    ids = tokens(8)
    got = DynamicShapeModel(folder).feed(ids)
    assert np.abs(got - logits_of(SPARSE, layers, ids)).max() < CLOSE


def test_gate_and_up_projections_in_several_forms(tmp_path: Path) -> None:
    """They are one weight in the runtimes of safetensors; a down projection may be another."""

    def refusal(kind: str) -> Refusal | None:
        model, dynamic = tmp_path / kind, {rf"+:.*\.{kind}_proj$": {"bits": 8}}

        def by_name(name: str) -> dict[str, Any]:
            return {"bits": 8} if f"{kind}_proj" in name else {}

        settings = q.gptq_settings(dynamic=dynamic)
        q.write_quantized(model, q.gptq, settings, SPARSE, by_name=by_name)
        return NativeExporter().why_not(
            resolve(model, embedding=FLOAT, head=FLOAT, format="safetensors")
        )

    assert refusal("down") is None
    said = refusal("up")
    assert said
    assert "gate and up" in said.reason


@pytest.mark.parametrize("format", ["openvino", "onnx"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_table_and_a_head_in_codes(tied: bool, format: str, tmp_path: Path) -> None:
    config = DENSE | {"tie_word_embeddings": tied}
    settings = q.compressed_settings(num_bits=8)
    settings["config_groups"]["group_0"]["targets"] = ["Linear", "Embedding"]
    settings["ignore"] = []
    names = ("model.embed_tokens.weight",) + (() if tied else ("lm_head.weight",))
    layers = q.write_quantized(
        tmp_path / "model", q.packed, settings, config, also=names, bits=8, exact=bf16
    )
    assert set(names) <= set(layers)
    plan = resolve(tmp_path / "model", linear=FLOAT, embedding=FLOAT, format=format)
    kept = {t.name for t in plan.tensors if t.scheme}
    assert kept == set(layers)
    folder = export(plan, tmp_path / "bundle")
    ids = tokens(12)
    got = OPEN[format](folder).feed(ids)
    difference = np.abs(got - logits_of(config, layers, ids)).max()
    assert difference < (OPENVINO_CLOSE if format == "openvino" else 0.01)
