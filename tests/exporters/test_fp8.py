"""FP8 that a checkpoint stores is kept in a safetensors bundle, where the profile asks for FP8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.deploy.export import export
from qdeploy.errors import PlanError
from qdeploy.exporters.native import NativeExporter
from qdeploy.interface import Progress
from qdeploy.quantization.precision import BLOCK
from tests.support import quantized as q
from tests.support.checkpoints import write_sidecars
from tests.support.native import resolve
from tests.support.tiny import DENSE, draw
from tests.support.weights import FP8_CONFIG, RawTensor, bf16, f32, fp8, save

CONFIG = DENSE | {"hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 2}
LINEAR = '{ dtype = "fp8" }'
TOKEN = {"num_bits": 8, "symmetric": True, "strategy": "token", "dynamic": True, "type": "float"}
BY_ROW = q.compressed_settings(
    "float-quantized", num_bits=8, type="float", symmetric=True, strategy="channel",
    group_size=None,
)  # fmt: skip
KINDS: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "blocks": (FP8_CONFIG, "weight_scale_inv", "fp8 blocks (as stored, fp8)"),
    "rows": ({"quantization_config": BY_ROW}, "weight_scale", "fp8 channel (as stored, fp8)"),
    "a tensor": (
        {"quantization_config": {"quant_method": "fp8"}}, "weight_scale",
        "fp8 channel (as stored, fp8)",
    ),
}  # fmt: skip


def block_of(kind: str, rows: int, columns: int, side: int) -> tuple[int, int]:
    """Rows and columns that share a scale."""
    return {"blocks": (side, side), "rows": (1, columns)}.get(kind, (rows, columns))


def write(folder: Path, kind: str, side: int = BLOCK) -> dict[str, tuple[Any, Any]]:
    """Write a checkpoint whose projections are random bytes; gives those with a scale a weight."""
    settings, name, _ = KINDS[kind]
    if side != BLOCK:
        settings = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [side] * 2}}
    write_sidecars(folder, {**CONFIG, **settings})
    generator = np.random.default_rng(0)
    stored: dict[str, RawTensor] = {}
    found = {}
    for weight, values in draw(CONFIG).items():
        module, _, _ = weight.rpartition(".")
        if not module.endswith("_proj"):
            stored[weight] = bf16(values)
            continue
        rows, columns = values.shape
        codes = generator.integers(0, 126, values.shape).astype(np.uint8)
        codes |= generator.integers(0, 2, values.shape).astype(np.uint8) << 7
        high, wide = block_of(kind, rows, columns, side)
        grid = (-(-rows // high), columns // wide)
        scales = generator.uniform(1e-5, 1e-4, grid).astype(np.float32)
        stored |= {weight: fp8(codes), f"{module}.{name}": f32(scales)}
        found[weight] = (codes, scales.repeat(high, 0)[:rows].repeat(wide, 1))
    save(folder / "model.safetensors", stored)
    return found


@pytest.mark.parametrize("inputs", ["none", "fp8"])
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_kept(kind: str, inputs: str, tmp_path: Path) -> None:
    wanted = write(tmp_path / "model", kind)
    graph = f'input_activations = "{inputs}"\nactivations = "bf16"'
    plan = resolve(tmp_path / "model", linear=LINEAR, format="safetensors", graph=graph)
    assert plan.summary()["linear"] == KINDS[kind][2]
    assert plan.warnings == ()
    assert NativeExporter().why_not(plan) is None
    folder = export(plan, NativeExporter(), tmp_path / "out", Progress(), force=False).path
    size = (folder / "model.safetensors").stat().st_size
    assert plan.weight_bytes <= size < plan.weight_bytes + 10_000
    found = read_checkpoint(folder)
    with open_weights(found) as source:
        for name, (codes, scales) in wanted.items():
            made = source.codes(name, 0, len(codes))
            np.testing.assert_array_equal(made.codes, codes, err_msg=name)
            repeats = codes.shape[1] // made.scales.shape[1]
            np.testing.assert_array_equal(made.scales.repeat(repeats, 1), scales, err_msg=name)
            np.testing.assert_array_equal(source.rows(name), made.dequantize(), err_msg=name)
    (group,) = json.loads((folder / "config.json").read_bytes())["quantization_config"][
        "config_groups"
    ].values()
    in_groups = {"strategy": "group", "group_size": BLOCK} if kind == "blocks" else {}
    assert group["input_activations"] == (TOKEN | in_groups if inputs == "fp8" else None)


def test_another_precision_is_rounded_to(tmp_path: Path) -> None:
    write(tmp_path / "model", "blocks")
    plan = resolve(tmp_path / "model", linear='{ dtype = "int4" }', format="safetensors")
    assert plan.summary()["linear"] == "int4 asym channel"
    assert not any(tensor.scheme for tensor in plan.tensors)


def test_blocks_of_another_size_are_refused_or_rounded_by_row(tmp_path: Path) -> None:
    write(tmp_path / "model", "blocks", 64)
    with pytest.raises(PlanError, match="runtimes take no blocks of 64 x 64") as caught:
        resolve(tmp_path / "model", linear=LINEAR, format="safetensors")
    assert "--requantize" in (caught.value.fix or "")
    plan = resolve(tmp_path / "model", linear=LINEAR, format="safetensors", requantize=True)
    assert plan.summary()["linear"] == "fp8 channel"


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_graphs_take_none(format: str, tmp_path: Path) -> None:
    write(tmp_path / "model", "blocks")
    refusal = NativeExporter().why_not(resolve(tmp_path / "model", linear=LINEAR, format=format))
    assert refusal
    assert f"does not write fp8 in the format {format}" in refusal.reason
