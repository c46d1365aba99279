"""The key-value cache: a buffer for each layer, allocated once and written in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Tensor = Any

STEP = 256
"""Capacity is a multiple of this, so that requests of about one length share a buffer."""


class Cache:
    """Keys and values of every layer, each [kv heads, capacity, D], on the layer's device.

    Args:
        like: a tensor on the device of each layer, of the cache's type.
    """

    def __init__(self, like: list[Tensor], kv_heads: int, head_dim: int) -> None:
        self._like, self._shape = like, (kv_heads, head_dim)
        self.capacity = 0
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def reserve(self, tokens: int, most: int) -> None:
        """Make room for *tokens*, of at most *most* of the session. What it held is lost."""
        if tokens <= self.capacity:
            return
        capacity = min(-(-tokens // STEP) * STEP, most)
        heads, size = self._shape
        self._keys, self._values = [], []  # freed before the new ones are allocated
        for like in self._like:
            self._keys.append(like.new_empty((heads, capacity, size)))
            self._values.append(like.new_empty((heads, capacity, size)))
        self.capacity = capacity

    def append(self, layer: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write [L, kv heads, D] from position *start* on; return all up to them, [kv, S, D]."""
        length = keys.shape[0]
        held = self._keys[layer], self._values[layer]
        for buffer, new in zip(held, (keys, values), strict=True):
            buffer.narrow(1, start, length).copy_(new.transpose(0, 1))
        seen = start + length
        return held[0].narrow(1, 0, seen), held[1].narrow(1, 0, seen)
