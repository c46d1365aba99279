"""Scales of inputs that compressed-tensors stores: codes have them, and values do without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import CheckpointError
from tests.support import quantized as q
from tests.support.checkpoints import SMALL
from tests.support.weights import RawTensor, bf16, f32

STATIC: dict[str, Any] = {
    "num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False,
    "observer": "minmax", "group_size": None,
}  # fmt: skip
NAME = "model.layers.0.mlp.down_proj.weight"


def write(folder: Path, scale: RawTensor, **changes: Any) -> tuple[Checkpoint, q.Layer]:
    settings = q.compressed_settings(
        "int-quantized", num_bits=8, symmetric=True, strategy="channel", group_size=None
    )
    settings["config_groups"]["group_0"]["input_activations"] = STATIC | changes
    layers = q.write_quantized(
        folder, lambda layer: q.signed_bytes(layer) | {"input_scale": scale}, settings, SMALL,
        bits=8, group=-1, symmetric=True, exact=f32,
    )  # fmt: skip
    return read_checkpoint(folder), layers[NAME]


@pytest.mark.parametrize(
    "scale", [f32([0.0371]), f32(0.0371), bf16([0.0371])], ids=["float32", "of no axes", "bfloat16"]
)
def test_codes_have_the_scale_that_is_stored(tmp_path: Path, scale: RawTensor) -> None:
    made, layer = write(tmp_path, scale)
    with open_weights(made) as source:
        found = source.codes(NAME, 3, 5).input_scale
        np.testing.assert_array_equal(source.rows(NAME), layer.values)
    assert found == float(q.widened(scale).reshape(-1)[0])
    assert found == pytest.approx(0.0371, rel=2**-7)
    assert "its activations were to be quantized too; they stay float here" in made.warnings
    assert not made.dropped


@pytest.mark.parametrize(
    "changes",
    [
        {"symmetric": False},
        {"dynamic": True, "strategy": "token"},
        {"strategy": "group", "group_size": 32},
        {"type": "float"},
        {"num_bits": 4},
    ],
    ids=str,
)
def test_scales_of_other_roundings_are_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    made, _ = write(tmp_path, f32([0.5]), **changes)
    with open_weights(made) as source:
        assert source.codes(NAME, 0, 1).input_scale is None
    assert "activations, which stay float here" in made.dropped[NAME[:-6] + "input_scale"]


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (f32([0.0]), "is 0, not one positive number"),
        (f32([-0.5]), "is -0.5, not"),
        (f32([float("nan")]), "is nan, not"),
        (f32([float("inf")]), "is inf, not"),
        (f32([0.5, 0.5]), r"is F32 \[2\], not"),
        (RawTensor("I8", np.array([1], np.int8)), r"is I8 \[1\], not"),
    ],
)
def test_a_scale_that_is_no_positive_number(tmp_path: Path, scale: RawTensor, told: str) -> None:
    made, layer = write(tmp_path, scale)
    with open_weights(made) as source:
        with pytest.raises(CheckpointError, match=f"input_scale {told}") as caught:
            source.codes(NAME, 0, 1)
        np.testing.assert_array_equal(source.rows(NAME), layer.values)
    assert "--requantize" in str(caught.value.fix)
