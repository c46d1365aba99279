"""The float forward with the inputs of linear layers rounded, as kernels for int8 round them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.graph import Expert, GraphConfig, Linear
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import multiply
from qdeploy.forward.forward import NumpyBuilder, Product, Value

Floats = NDArray[np.float32]
Round = Callable[[str, Floats], Floats]
"""Rounds the inputs [T, K] of the weight of that name."""


class RoundingBuilder(NumpyBuilder):
    """A reference for models whose inputs are rounded; routers read them as they are."""

    def __init__(
        self, source: WeightReader, config: GraphConfig, ids: Sequence[Sequence[int]], by: Round
    ) -> None:
        super().__init__(source, config, ids, lambda done, total: None)
        self._round = by

    def linear(self, x: Value, layer: Linear) -> Value:
        return Product(self._round(layer.weight, self.value(x)), layer)

    def _expert(self, x: Floats, expert: Expert) -> Floats:
        rounded = self._round(expert.gate, x)
        gate, up = (Product(rounded, Linear(name, 0)) for name in (expert.gate, expert.up))
        inner = self.value(self.swiglu(gate, up))
        return multiply(self._source, self._round(expert.down, inner), expert.down)


def hidden(
    folder: Path, source: WeightReader, ids: Sequence[Sequence[int]], by: Round | None = None
) -> Floats:
    """Hidden states of all tokens, [T, H], with weights from *source*; not rounded without *by*."""
    checkpoint = read_checkpoint(folder)
    config = checkpoint.graph(None)
    build = RoundingBuilder(source, config, ids, by or (lambda name, x: x))
    return build.value(checkpoint.architecture.hidden(build, config))
