"""The simulation of Ascend agrees with the wheel of torch_npu: its schemas, its own checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qdeploy
from qdeploy import models
from qdeploy.backends.torch.simulated.device import activate

COMPOSITE = ("CompositeImplicitAutograd", "CompositeExplicitAutograd")
"""Kernels of torch that are made of other operators, and run on any device."""
SESSIONS = [
    (name, profile) for name in models.EMBEDDED for profile in ("ascend-int4", "ascend-int8")
]
SESSIONS.append(("qwen3-nano", "ascend-int8-310p"))  # which has no experts of integers
PRODUCTS = {"npu::npu_weight_quant_batchmatmul", "npu::npu_quant_matmul"}
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

WITHOUT_SHAPES = {"npu::npu_convert_weight_to_int4pack"}
"""Operators for which the wheel has no function of shapes."""

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")
pytest.importorskip("yaml", reason="needs qdeploy[parity]")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        (name, profile): qdeploy.export(
            name, target="ascend", profile=profile, output=folder / f"{name}-{profile}"
        ).path
        for name, profile in SESSIONS
    }


@pytest.fixture(scope="module")
def found(wheel: Path, bundles: dict[tuple[str, str], Path]) -> Any:
    """What a process says that has the vendor's definitions, of cases and of sessions."""
    command: list[str | Path] = [sys.executable, "-m", "tests.support.simulated.vendor", wheel]
    for (_, profile), bundle in bundles.items():
        device = activate("ascend-310p" if profile.endswith("310p") else "ascend")[0]
        command += [str(device), bundle]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
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


def composite() -> set[str]:
    """Operators that torch makes of others, as `aten::t`, of any overload."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    names = torch._C._dispatch_get_all_op_names()
    made = {name for name in names if any(has_kernel(name, key) for key in COMPOSITE)}
    return {name.partition(".")[0] for name in made}


@pytest.mark.parametrize("session", SESSIONS, ids="-".join)
def test_every_operator_of_a_session_is_the_vendors_or_made_of_others(
    session: tuple[str, str], found: Any
) -> None:
    """torch_npu would run any other one on the CPU, and say so in a warning only."""
    ran = found["sessions"][SESSIONS.index(session)]
    operators = set(ran["operators"])
    vendors = {name for name in operators if name.startswith("npu::")}
    supported = {f"aten::{operator}" for operator in found["supported"]}
    assert not operators - vendors - supported - composite()
    assert vendors & PRODUCTS
    assert set(ran["checked"]) == vendors - WITHOUT_SHAPES
