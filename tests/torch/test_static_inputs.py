"""Inputs of linear layers that are rounded by static scales: torch's logits, and NumPy's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.backends.torch import TorchBackend
from qdeploy.bundle import Bundle
from qdeploy.deploy.export import export
from qdeploy.errors import GenerationFailed
from qdeploy.exporters.native import NativeExporter
from qdeploy.interface import LoadOptions, Progress
from qdeploy.planning.plan import Plan
from qdeploy.targets import ASCEND, CPU
from tests.support import forward, tiny
from tests.support.calibrated import SETTINGS
from tests.support.native import resolve
from tests.support.static_inputs import GRAPH, lookup, put_in, scale_of
from tests.support.tiny import DENSE, SPARSE

pytest.importorskip("torch", reason="needs qdeploy[torch]")

INT8 = '{ dtype = "int8", symmetric = true }'
IDS = [1, 5, 200, 20, 7, 9, 100, 44]
CLOSE, CLOSE_IN_HALVES = 0.005, 0.12
"""Of logits up to 4.6, measured 1.4e-6: an input that lies between two codes may be rounded to
either. With activations in float16 more of them are: measured 0.08."""


def planned(config: Mapping[str, Any], folder: Path, graph: str = GRAPH) -> Plan:
    made = tiny.write(folder, config)
    return resolve(made, linear=INT8, format="safetensors", graph=graph, calibration=SETTINGS)


def exported(plan: Plan, folder: Path) -> Bundle:
    return export(plan, NativeExporter(), folder, Progress(), force=False)


def score(bundle: Bundle, chip: str = "") -> Any:
    """Logits and the proof of placement, on the CPU or a simulated chip."""
    backend = TorchBackend()
    target = ASCEND if chip else CPU
    devices = backend.devices(target, simulate=bool(chip))
    device = next(device for device in devices if chip in device.name)
    with backend.load(bundle, device, LoadOptions()) as session:
        proof = session.placement().proof
        return session.score(IDS), proof


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_logits_are_those_of_rounded_inputs(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(monkeypatch)
    plan = planned(config, tmp_path / "model")
    made, proof = score(exported(plan, tmp_path / "bundle"))
    assert "aten::_int_mm" in proof
    weights = tiny.draw(config)
    right = forward.logits(config, lookup(plan, weights), IDS)
    floats = forward.logits(config, lookup(plan, weights, lambda _: None), IDS)
    wider = forward.logits(config, lookup(plan, weights, lambda name: 1.1 * scale_of(name)), IDS)
    assert np.abs(made - right).max() < CLOSE
    for wrong in (floats, wider):
        assert np.abs(made - wrong).max() > 3 * CLOSE


@pytest.mark.parametrize(
    ("chip", "config", "kernel"),
    [
        ("A2", DENSE, "npu::npu_quant_matmul (static inputs)"),
        ("A2", SPARSE, "npu::npu_grouped_matmul (static int8 inputs)"),
        ("310P", DENSE, "npu::npu_quant_matmul (static inputs)"),
    ],
    ids=["A2", "A2, experts", "310P"],
)
def test_logits_of_simulated_npus(
    chip: str,
    config: dict[str, Any],
    kernel: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_in(monkeypatch)
    plan = planned(config, tmp_path / "model", f'{GRAPH}\nactivations = "fp16"')
    made, proof = score(exported(plan, tmp_path / "bundle"), chip)
    assert kernel in proof
    weights = tiny.draw(config)
    right = forward.logits(config, lookup(plan, weights), IDS)
    wider = forward.logits(config, lookup(plan, weights, lambda name: 1.1 * scale_of(name)), IDS)
    assert np.abs(made - right).max() < CLOSE_IN_HALVES
    assert np.abs(made - wider).max() > 2 * CLOSE_IN_HALVES


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        (
            lambda name: 0.02 if "q_proj" in name else 0.01,
            "several static scales: 0.02 for .*q_proj",
        ),
        (lambda name: 0.02 if "gate" in name else 0.01, "several static scales: 0.02 for .*gate"),
    ],
)
def test_layers_that_read_the_same_inputs_have_one_scale(
    scales: Callable[[str], float], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(monkeypatch, scales)
    bundle = exported(planned(DENSE, tmp_path / "model"), tmp_path / "bundle")
    with pytest.raises(GenerationFailed, match=words):
        score(bundle)


def test_a_bundle_without_the_scales_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a config that another tool has written over."""
    put_in(monkeypatch)
    bundle = exported(planned(DENSE, tmp_path / "model"), tmp_path / "bundle")
    file = bundle.path / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    (group,) = config["quantization_config"]["config_groups"].values()
    group["input_activations"] = None
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(GenerationFailed, match="has none for this layer") as caught:
        score(bundle)
    assert caught.value.where == "model.layers.0.self_attn.q_proj.weight"
