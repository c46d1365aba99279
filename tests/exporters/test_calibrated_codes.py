"""Codes that calibration chose reach every format bit for bit, and no other weight has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.calibration.codes import open_planned_weights
from qdeploy.exporters.native import NativeExporter
from qdeploy.exporters.optimum import OptimumExporter
from qdeploy.quantization.matrix import quantize
from tests.support import tiny
from tests.support.calibrated import SETTINGS, negate, put_in
from tests.support.native import export, resolve
from tests.support.stored_codes import (
    BY_ROW,
    GROUPED,
    check_codes,
    in_onnx,
    in_openvino,
    in_safetensors,
    planned_codes,
)
from tests.support.tiny import DENSE, SPARSE

FLOAT = '{ dtype = "fp16" }'
EIGHT = '{ dtype = "int8", group_size = 32 }'
STATIC = "context = 64\nprefill = 16"


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in(monkeypatch)


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", GROUPED)
@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_grouped(
    form: str,
    precision: str,
    config: dict[str, Any],
    made: Callable[..., Path],
    tmp_path: Path,
) -> None:
    plan = resolve(
        made(config), linear=GROUPED[precision], embedding=EIGHT, format=form, calibration=SETTINGS
    )
    assert plan.linear_label == f"{precision} (calibrated)"
    folder = export(plan, tmp_path / form)
    found = in_openvino(folder) if form == "openvino" else in_onnx(folder, "model.onnx")
    check_codes(found, planned_codes(plan, config))


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", BY_ROW)
def test_fixed_shapes(
    precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    plan = resolve(
        made(config), linear=BY_ROW[precision], embedding=FLOAT, format="onnx-static",
        graph=STATIC, calibration=SETTINGS,
    )  # fmt: skip
    folder = export(plan, tmp_path / "bundle")
    for file in ("prefill.onnx", "decode.onnx"):
        check_codes(in_onnx(folder, file), planned_codes(plan, config))


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", GROUPED | BY_ROW)
def test_parts_of_compressed_tensors(
    precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    plan = resolve(
        made(config), linear=(GROUPED | BY_ROW)[precision], head=EIGHT, embedding=FLOAT,
        format="safetensors", calibration=SETTINGS,
    )  # fmt: skip
    folder = export(plan, tmp_path / "bundle")
    check_codes(in_safetensors(folder), planned_codes(plan, config))


def test_the_config_says_no_more_than_that_of_rounded_weights(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    """A runtime reads calibrated codes as any others."""
    changes = []
    for calibration in (None, SETTINGS):
        plan = resolve(
            made(DENSE), linear=GROUPED["int4 sym g32"], format="safetensors",
            calibration=calibration,
        )  # fmt: skip
        changes.append(NativeExporter().config_changes(plan))
    assert changes[0] == changes[1]


def test_without_calibration_weights_are_rounded(made: Callable[..., Path], tmp_path: Path) -> None:
    plan = resolve(made(DENSE), linear=GROUPED["int4 sym g32"], format="onnx")
    folder = export(plan, tmp_path / "bundle")
    check_codes(in_onnx(folder, "model.onnx"), planned_codes(plan, DENSE))


def test_values_are_the_checkpoints_and_codes_are_calibrated(made: Callable[..., Path]) -> None:
    plan = resolve(made(DENSE), linear=GROUPED["int4 asym g32"], calibration=SETTINGS)
    name = "model.layers.1.mlp.up_proj.weight"
    exact = tiny.draw(DENSE)[name]
    with open_planned_weights(plan) as source:
        assert set(source.names) == tiny.draw(DENSE).keys()
        assert source.shape(name) == exact.shape
        np.testing.assert_array_equal(source.rows(name), exact)
        np.testing.assert_array_equal(np.concatenate([b for _, b in source.blocks(name)]), exact)
        codes = source.codes(name, 3, 5)
    right = negate(quantize(exact[3:5], plan.linear))
    np.testing.assert_array_equal(codes.dequantize(), right.dequantize())


def test_an_exporter_that_rounds_itself_refuses(made: Callable[..., Path]) -> None:
    plan = resolve(made(DENSE), linear=BY_ROW["int8 asym"], calibration=SETTINGS)
    refusal = OptimumExporter().why_not(plan)
    assert refusal is not None
    assert "calibrated" in refusal.reason
    assert OptimumExporter().refuses(plan) == refusal
    assert NativeExporter().refuses(plan) is None
