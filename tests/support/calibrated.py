"""A stand-in for the engine of calibration: codes at once, and none that rounding would find.

A weight's codes are those of its negative: values are negated, and the zero points of asymmetric
ones are mirrored with their codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from qdeploy.calibration.record import CalibrationRecord, Text
from qdeploy.calibration.report import Report
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.plan import Plan
from qdeploy.quantization.quantized import Quantized

SETTINGS = Calibration(tokens=256, seed=3, importance=False)


@dataclass
class Engine:
    """What was asked of it.

    Attributes:
        calibrated: every plan that was calibrated, in order.
        warnings: what it tells of.
        before: called with each plan first.
        codes: what it finds for a plan.
    """

    calibrated: list[Plan] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    before: Callable[[Plan], object] = lambda plan: None
    codes: Callable[[Plan], Any] = lambda plan: Negated(plan)

    def calibrate(self, plan: Plan, report: Report) -> CalibrationRecord:
        self.before(plan)
        self.calibrated.append(plan)
        for warning in self.warnings:
            report.warn(warning)
        report.stage("calibrating the layers")
        report.step(1, 2)
        report.step(2, 2)
        return record_of(plan)

    def open_codes(self, plan: Plan) -> Any:
        return self.codes(plan)


def record_of(plan: Plan) -> CalibrationRecord:
    assert plan.calibration is not None
    return CalibrationRecord(
        method="negation",
        tokens=plan.calibration.tokens,
        seed=plan.calibration.seed,
        texts=[Text(name="nothing", sha256="0" * 64, sequences=1, tokens=plan.calibration.tokens)],
        importance="gradient" if plan.calibration.importance else "none",
        losses={t.name: 4.0 for t in plan.tensors if t.calibrated},
    )


class Negated:
    """See `codes.Codes`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._precisions = {t.source: t.precision for t in plan.tensors if t.calibrated}

    def read(self, name: str, start: int, stop: int) -> Quantized:
        from qdeploy.checkpoint.weights import open_weights
        from qdeploy.quantization.matrix import quantize

        with open_weights(self._plan.checkpoint) as source:
            return negate(quantize(source.rows(name, start, stop), self._precisions[name]))

    def smoothed(self, source: WeightReader) -> WeightReader:
        return source


def negate(weight: Quantized) -> Quantized:
    """The weight that has the negated values, or those of one code less if it is symmetric."""
    if weight.zero_points is None:
        return Quantized(weight.precision, ~weight.codes, weight.scales, None)
    highest = 2**weight.precision.bits - 1
    codes, points = highest - weight.codes, highest - weight.zero_points
    return Quantized(weight.precision, codes, weight.scales, points)


def put_in(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Engine:
    """Put the stand-in where the engine is."""
    engine = Engine(**changes)
    for module, name in (("run", "calibrate"), ("store", "open_codes")):
        monkeypatch.setattr(f"qdeploy.calibration.{module}.{name}", getattr(engine, name))
    return engine
