"""The model at one position of many sequences, with the keys and values of those before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.calibration.texts.cache import Cache
from qdeploy.checkpoint.weights import WeightReader
from qdeploy.forward.arithmetic import Floats, rotate
from qdeploy.forward.forward import NumpyBuilder, Value


def one_position(
    source: WeightReader,
    architecture: Architecture,
    config: GraphConfig,
    tokens: Sequence[int],
    cache: Cache,
    position: int,
) -> Floats:
    """Hidden states after the last norm, float32 [B, H], of the tokens of B sequences.

    Their keys and values are added to *cache*, which has those of all positions before.

    Raises:
        CheckpointError: a weight is infinite or not a number.
    """
    build = PositionBuilder(source, config, tokens, cache, position)
    return build.value(architecture.hidden(build, config))


class PositionBuilder(NumpyBuilder):
    """Computes each operation when it is built. Rows are sequences: [B, H]."""

    def __init__(
        self,
        source: WeightReader,
        config: GraphConfig,
        tokens: Sequence[int],
        cache: Cache,
        position: int,
    ) -> None:
        super().__init__(source, config, [[token] for token in tokens], lambda *_: None)
        self._cache, self._position = cache, position

    def attention(self, layer: int, query: Value, key: Value, value: Value) -> Value:
        rows = len(self._ids)
        q, k, v = (
            self.value(x).reshape(rows, -1, self._config.head_dim) for x in (query, key, value)
        )
        self._cache.append(layer, self._position, self._rotated(k), v)
        return self._cache.attend(layer, self._position, self._rotated(q)).reshape(rows, -1)

    def _rotated(self, x: Floats) -> Floats:
        """Rotate heads, [B, heads, D], all by the same position: as heads of one token."""
        as_one = np.reshape(x, (1, -1, x.shape[-1]))
        return rotate(as_one, self._config.rope, self._position).reshape(x.shape)
