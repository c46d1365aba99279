"""The weights of a model on tensors that have a device, a shape and a type but no values.

Torch's FakeTensorMode needs no device and no weights. This module imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qdeploy.architectures.graph import Expert, Linear
from qdeploy.backends.torch.engine.loader import Loader
from qdeploy.backends.torch.kernels.base import ExpertLayers, Layer
from qdeploy.backends.torch.kernels.stacks import Stack
from qdeploy.planning.device_memory import Model
from qdeploy.quantization.quantized import Quantized


class Reader:
    """Weights of a model that nobody has: zeros."""

    def __init__(self, model: Model) -> None:
        self._held = model.weights

    def shape(self, name: str) -> tuple[int, ...]:
        return self._held[name].shape

    def rows(self, name: str) -> NDArray[np.float32]:
        return np.zeros(self.shape(name), np.float32)

    def blocks(self, name: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
        yield 0, self.rows(name)

    def codes(self, name: str, start: int, stop: int) -> Quantized:
        precision, columns = self._held[name].precision, self.shape(name)[1]
        groups = 1 if precision.group_size < 0 else columns // precision.group_size
        codes = np.zeros((stop - start, columns), np.int8)
        return Quantized(precision, codes, np.zeros((stop - start, groups), np.float16), None)


class Repeated:
    """The weights of a loader: packed for the first layer of a shape, copied for all others."""

    def __init__(self, loader: Loader, model: Model) -> None:
        self._loader, self._held = loader, model.weights
        self._packed: dict[Any, Any] = {}
        self.vector, self.table = loader.vector, loader.table

    def linear(self, layers: Sequence[Linear], device: str) -> list[tuple[Layer, tuple[int, ...]]]:
        names = [layer.weight for layer in layers]
        pack = partial(self._loader.linear, layers, device)
        made: list[tuple[Layer, tuple[int, ...]]] = self._of(names, device, pack)
        return made

    def head(self, layer: Linear, device: str) -> Layer:
        made: Layer = self._of([layer.weight], device, partial(self._loader.head, layer, device))
        return made

    def experts(self, experts: Sequence[Expert], device: str) -> ExpertLayers:
        names = [experts[0].gate, experts[0].down]
        made: ExpertLayers = self._of(names, device, partial(self._loader.experts, experts, device))
        return made

    def _of(self, names: Sequence[str], device: str, pack: Callable[[], Any]) -> Any:
        held = [self._held[name] for name in names]
        key = tuple((weight.shape, weight.precision) for weight in held)
        if key not in self._packed:
            self._packed[key] = pack()
            return self._packed[key]
        return copied(self._packed[key], device)


def copied(held: Any, device: str) -> Any:
    """The same with tensors of its own on *device*."""
    if isinstance(held, torch.Tensor):
        return torch.empty_like(held, device=device)
    if isinstance(held, list | tuple):
        return type(held)([copied(value, device) for value in held])
    if isinstance(held, Layer | ExpertLayers | Stack):
        made = copy(held)
        vars(made).update({name: copied(value, device) for name, value in vars(held).items()})
        return made
    return held
