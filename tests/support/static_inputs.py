"""Static scales of layers' inputs without calibration: codes as rounded, and scales that are given.

The reference rounds inputs in NumPy, on the left of the products of `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.planning.plan import Plan
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.quantized import Quantized
from tests.support.calibrated import put_in as put_engine_in

Array = NDArray[np.float32]
ScaleOf = Callable[[str], float | None]
"""The scale of the inputs of a weight, by its name."""
GRAPH = 'input_activations = "int8-static"'
RANGES = {"o_proj": 1.0, "down_proj": 1.5}
"""Of inputs, by the projection's name: a few of the random models' are beyond."""
USUAL = 3.0


def scale_of(name: str) -> float:
    """Layers that read the same inputs have one scale; each expert's down projection its own."""
    module = name.removesuffix(".weight").split(".")
    own = 1 + int(module[-2]) / 16 if module[-3] == "experts" and "down" in module[-1] else 1
    return float(np.float32(RANGES.get(module[-1], USUAL) * own / 127.5))


class Codes:
    """See `calibration.codes.Codes`."""

    def __init__(self, plan: Plan, scale_of: ScaleOf) -> None:
        self._plan, self._scale_of = plan, scale_of
        self._precisions = {t.source: t.precision for t in plan.tensors if t.calibrated}

    def read(self, name: str, start: int, stop: int) -> Quantized:
        with open_weights(self._plan.checkpoint) as source:
            made = quantize(source.rows(name, start, stop), self._precisions[name])
        return replace(made, input_scale=self._scale_of(name))

    def smoothed(self, source: WeightReader) -> WeightReader:
        return source


def put_in(monkeypatch: pytest.MonkeyPatch, scale_of: ScaleOf = scale_of) -> None:
    """Put codes with such scales where calibration's would be."""
    put_engine_in(monkeypatch, codes=lambda plan: Codes(plan, scale_of))


class Rounding:
    """A weight [N, K] whose transpose, on the right of a product, rounds what is on the left."""

    __array_ufunc__ = None

    def __init__(self, values: Array, scale: float) -> None:
        self._values, self._scale = values, np.float32(scale)

    @property
    def T(self) -> Rounding:  # noqa: N802
        return self

    def __rmatmul__(self, x: Array) -> Array:
        codes = np.clip(np.rint(x / self._scale), -128, 127).astype(np.float32)
        made: Array = (codes * self._scale) @ self._values.T
        return made


def lookup(
    plan: Plan, weights: Mapping[str, Array], scale_of: ScaleOf = scale_of
) -> Callable[[str], Any]:
    """The weights of a plan as its bundle has them, for `forward`."""
    stored = {t.source: t for t in plan.tensors}

    def find(name: str) -> Any:
        tensor = stored[name]
        if tensor.precision.dtype == "fp16":
            return weights[name]
        values = quantize(weights[name], tensor.precision).dequantize()
        scale = scale_of(name) if tensor.role == "linear" else None
        return values if scale is None else Rounding(values, scale)

    return find
