"""The simulation of Ascend agrees with the wheel of torch_npu: its schemas, its own checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

WITHOUT_SHAPES = {"npu::npu_convert_weight_to_int4pack"}
"""Operators for which the wheel has no function of shapes."""

pytest.importorskip("torch", reason="needs qdeploy[torch]")
pytest.importorskip("yaml", reason="needs qdeploy[parity]")


@pytest.fixture(scope="module")
def found(wheel: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.simulated.vendor", wheel],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_schemas_of_the_vendor_can_be_defined(found: Any) -> None:
    assert found["defined"] > 400


def test_our_schemas_are_the_vendors(found: Any) -> None:
    assert found["of our own"] == []


def test_the_vendors_own_functions_take_the_same_calls_and_give_the_same(found: Any) -> None:
    assert len(found["calls"]) > 10
    without = {call["case"] for call in found["calls"] if call["vendors"] is None}
    assert without == WITHOUT_SHAPES
    different = [call for call in found["calls"] if call["vendors"] not in (None, call["ours"])]
    assert different == []
