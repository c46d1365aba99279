"""Export with a limit: bits are measured, chosen, calibrated, and kept for the next time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qdeploy
from qdeploy.calibration import sensitivity
from qdeploy.errors import InputError
from qdeploy.planning.linear import average_bits

PROFILE = "cpu-int4-torch"
"""Its format needs no library."""
ASKED: dict[str, Any] = {"target": "cpu", "profile": PROFILE, "calibration_tokens": 256}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("QDEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    return "qwen3-nano"


def test_bits_on_average_are_kept_to_and_measured_once(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = qdeploy.plan(model, average_bits=5, **ASKED)
    assert 4.8 < average_bits(planned.linears) <= 5
    assert planned.calibration
    bundle = qdeploy.export(model, output=tmp_path / "five", average_bits=5, **ASKED)
    said = bundle.manifest.plan["linear"]
    assert "int8" in said
    assert "bits on average (calibrated)" in said
    assert bundle.manifest.calibration

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(sensitivity, "sensitivities", again)
    same = qdeploy.export(model, output=tmp_path / "again", average_bits=5, **ASKED)
    assert same.digest == bundle.digest
    limit = bundle.nbytes + 200_000
    larger = qdeploy.export(model, output=tmp_path / "larger", fit=limit, **ASKED)
    assert bundle.manifest.plan["bundle_bytes"] < larger.manifest.plan["bundle_bytes"] <= limit


def test_a_limit_needs_calibration(model: str) -> None:
    with pytest.raises(InputError, match="need calibration"):
        qdeploy.plan(model, target="cpu", calibrate=False, fit="1GB")
