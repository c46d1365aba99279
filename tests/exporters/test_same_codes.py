"""Every format holds the same integers: unpacked from the files, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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

FP8 = {"fp8": '{ dtype = "fp8" }'}
FLOAT = '{ dtype = "fp16" }'


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", GROUPED)
def test_grouped(
    precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    chosen = GROUPED[precision]
    for form in ("openvino", "onnx"):
        plan = resolve(made(config), linear=chosen, embedding=chosen, format=form)
        folder = export(plan, tmp_path / form)
        found = in_openvino(folder) if form == "openvino" else in_onnx(folder, "model.onnx")
        check_codes(found, planned_codes(plan, config))


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", GROUPED | BY_ROW | FP8)
def test_parts_of_compressed_tensors(
    precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    chosen = (GROUPED | BY_ROW | FP8)[precision]
    plan = resolve(made(config), linear=chosen, head=chosen, format="safetensors")
    folder = export(plan, tmp_path / "bundle")
    wanted = planned_codes(plan, config)
    assert "lm_head.weight" in wanted
    check_codes(in_safetensors(folder), wanted)


def test_bytes_that_are_multiplied_by_bytes(made: Callable[..., Path], tmp_path: Path) -> None:
    graph = 'input_activations = "int8"'
    plan = resolve(made(SPARSE), linear=BY_ROW["int8 sym"], format="safetensors", graph=graph)
    folder = export(plan, tmp_path / "bundle")
    check_codes(in_safetensors(folder), planned_codes(plan, SPARSE))


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", BY_ROW)
def test_by_row(
    precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    chosen, graph = BY_ROW[precision], "context = 64\nprefill = 16"
    for form, file in (
        ("openvino", ""),
        ("onnx-static", "prefill.onnx"),
        ("onnx-static", "decode.onnx"),
    ):
        plan = resolve(made(config), linear=chosen, embedding=FLOAT, format=form, graph=graph)
        folder = export(plan, tmp_path / f"{form}{file}")
        found = in_onnx(folder, file) if file else in_openvino(folder)
        check_codes(found, planned_codes(plan, config))
