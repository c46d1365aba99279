"""Weights that are read once and held in memory, for work that reads them hundreds of times."""

from __future__ import annotations

from math import prod
from threading import Lock

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.checkpoint.weights import WeightReader, WrappedReader
from qdeploy.forward.arithmetic import Floats
from qdeploy.system.memory import available_bytes

ALWAYS_BYTES = 512 * 2**20
"""Weights of up to this size as float32 are held on any machine."""
SHARE = 5
"""Larger ones are held if they take at most one part in so many of the memory that is free."""


def parameters(architecture: Architecture, config: GraphConfig) -> int:
    """Number of a model's weights."""
    return sum(prod(tensor.shape) for tensor in architecture.tensors(config).values())


def held_if_small(
    source: WeightReader, architecture: Architecture, config: GraphConfig
) -> WeightReader:
    """A reader that holds the weights in memory as float32, or *source* if they are too large."""
    size = 4 * parameters(architecture, config)
    most = max(ALWAYS_BYTES, (available_bytes() or 0) // SHARE)
    return HeldWeights(source) if size <= most else source


class HeldWeights(WrappedReader):
    """The weights of another reader, each read whole when it is first asked for."""

    def __init__(self, source: WeightReader) -> None:
        super().__init__(source)
        self._held, self._lock = dict[str, Floats](), Lock()

    def rows(
        self, name: str, start: int = 0, stop: int | None = None, *, out: Floats | None = None
    ) -> Floats:
        """Rows of a weight, which are not to be changed unless they are in *out*."""
        with self._lock:
            if name not in self._held:
                self._held[name] = self._source.rows(name)
                self._held[name].flags.writeable = False
        found = self._held[name][start:stop]
        if out is None:
            return found
        out[...] = found
        return out
