"""The weights of a plan, opened: floats from the checkpoint, codes also from calibration."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from qdeploy.checkpoint.weights import WeightReader, WrappedReader, open_weights

if TYPE_CHECKING:
    from qdeploy.planning.plan import Plan
    from qdeploy.quantization.quantized import Quantized


class Codes(Protocol):
    """Codes that calibration found, by the weight's name. Reading is thread-safe."""

    def read(self, name: str, start: int, stop: int) -> Quantized:
        """Rows *start* to *stop* of a weight."""

    def smoothed(self, source: WeightReader) -> WeightReader:
        """The float weights that belong to the codes, from those of the checkpoint."""


def open_planned_weights(plan: Plan) -> WeightReader:
    """Open the weights of a plan. The codes of calibrated ones are those that calibration found.

    Raises:
        CheckpointError, InputError: as `open_weights` does.
        ExportFailed: the plan's codes are not there: it was not calibrated, or they were removed.
    """
    if plan.calibration is None:
        return open_weights(plan.checkpoint)
    from qdeploy.calibration.store import open_codes

    codes = open_codes(plan)
    calibrated = frozenset(t.source for t in plan.tensors if t.calibrated)
    return CalibratedReader(codes.smoothed(open_weights(plan.checkpoint)), codes, calibrated)


class CalibratedReader(WrappedReader):
    """The weights of a checkpoint, some of them with other codes than it stores."""

    def __init__(self, source: WeightReader, codes: Codes, calibrated: Collection[str]) -> None:
        """*calibrated*: names of the weights whose codes are read from *codes*."""
        super().__init__(source)
        self._codes, self._calibrated = codes, calibrated

    def codes(self, name: str, start: int, stop: int) -> Quantized:
        """Rows *start* to *stop* of a weight as calibrated, or else as stored."""
        if name in self._calibrated:
            return self._codes.read(name, start, stop)
        return super().codes(name, start, stop)
