"""The predicted cost of a calibration: what it grows with, and where the time is from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qdeploy.calibration import cost
from qdeploy.checkpoint.hub import describe
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.system import bandwidth
from qdeploy.targets import CPU

RATE = 1e11


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bandwidth, "float32_flops_per_s", lambda passes: RATE)
    cost._operations_per_s.cache_clear()
    yield
    cost._operations_per_s.cache_clear()


def plan(model: str, tokens: int = 16384, *, importance: bool = True) -> Plan:
    calibration = Calibration(tokens, 0, importance=importance)
    return make_plan(describe(model), load_profile("cpu-int4"), CPU, calibration=calibration)


def test_time_is_operations_by_the_rate_of_this_cpu() -> None:
    made = plan("0.6B")
    assert cost.predict(made).seconds == cost.operations(made) / RATE
    assert cost.predict(made, timed=False).seconds is None
    parameters = sum(t.parameters for t in made.tensors if t.calibrated)
    assert cost.operations(made) > 2 * cost.FORWARDS * 16384 * parameters


@pytest.mark.parametrize("model", ["0.6B", "30B-A3B"])
def test_more_text_and_importance_take_more(model: str) -> None:
    few, many = (cost.predict(plan(model, tokens)) for tokens in (4096, 16384))
    assert few.seconds is not None
    assert many.seconds is not None
    assert few.seconds < many.seconds < 4 * few.seconds
    assert few.disk_bytes < many.disk_bytes
    assert few.memory_bytes == many.memory_bytes
    plain = cost.predict(plan(model, importance=False))
    assert plain.seconds is not None
    assert plain.seconds < many.seconds
    assert plain.disk_bytes <= many.disk_bytes


def test_memory_is_that_of_the_widest_layer_and_not_of_all() -> None:
    memory = {model: cost.predict(plan(model)).memory_bytes for model in ("0.6B", "8B", "30B-A3B")}
    assert memory["0.6B"] <= memory["30B-A3B"] < memory["8B"]
    widest = max(t.shape[1] for t in plan("8B").tensors if t.role == "linear")
    assert memory["8B"] > cost.MATRICES * 4 * widest**2


def test_codes_on_the_disk_are_as_large_as_in_the_bundle() -> None:
    made = plan("0.6B", 256, importance=False)
    codes = sum(t.nbytes for t in made.tensors if t.calibrated)
    assert cost.predict(made).disk_bytes == pytest.approx(codes, rel=0.15)


def test_an_expert_sees_its_share_of_the_text() -> None:
    """A token goes through 8 of 128 experts, so many more of them do not cost as much."""
    sparse, dense = plan("30B-A3B"), plan("32B")
    assert cost.operations(sparse) < cost.operations(dense)


def test_without_calibration_there_is_no_cost() -> None:
    made = make_plan(describe("0.6B"), load_profile("cpu-int4"), CPU)
    with pytest.raises(ValueError, match="without calibration"):
        cost.predict(made)
