"""The file of weights, laid out before a byte of it is written.

Where everything goes follows from shapes and precisions alone, so the graph can be written first
and the weights can stream into their places afterwards, in any number of runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from qdeploy.plan import TensorPlan
from qdeploy.profile import PER_CHANNEL, Precision

ALIGNMENT = 64
"""Weights begin at a cache line, so that a runtime can use the mapped file as it is."""


@dataclass(frozen=True)
class Span:
    """A range of bytes of the file."""

    offset: int
    size: int


@dataclass(frozen=True)
class Stored:
    """A weight in the file: one tensor of the checkpoint, or equal-shaped ones stacked.

    A float weight has codes only: its values in float16.

    Attributes:
        tensors: names in the checkpoint; several where experts are stacked.
        shape: of one of them: [N, K], or [N] for a vector.
        codes: [tensors, N, K] in the precision's width, four-bit ones two a byte.
        scales: float16 [tensors, N, groups].
        zero_points: [tensors, N, groups] in the codes' width; None where symmetric.
    """

    tensors: tuple[str, ...]
    shape: tuple[int, ...]
    precision: Precision
    codes: Span
    scales: Span | None = None
    zero_points: Span | None = None

    @property
    def groups(self) -> int:
        """Groups in a row."""
        size = self.precision.group_size
        return 1 if size == PER_CHANNEL else self.shape[-1] // size


class Blob:
    """The layout of one file of weights, filled from its beginning to its end."""

    def __init__(self, tensors: Mapping[str, TensorPlan]) -> None:
        """*tensors*: the plan of every tensor by its name."""
        self._plans = tensors
        self._inline: dict[bytes, int] = {}
        self._stored: dict[tuple[str, ...], Stored] = {}
        self.size = 0

    @property
    def inlined(self) -> list[tuple[int, bytes]]:
        """Offset and content of every small constant."""
        return [(offset, content) for content, offset in self._inline.items()]

    @property
    def weights(self) -> list[Stored]:
        """Every weight, in the order of the file."""
        return list(self._stored.values())

    def inline(self, content: bytes) -> int:
        """Place a small constant, or find the place of an equal one; returns its offset."""
        if content not in self._inline:
            self._inline[content] = self._take(len(content)).offset
        return self._inline[content]

    def weight(self, *tensors: str) -> Stored:
        """Place a weight, or find the place of the same one."""
        if tensors not in self._stored:
            plan = self._plans[tensors[0]]
            self._stored[tensors] = self._place(tensors, plan.shape, plan.precision)
        return self._stored[tensors]

    def _place(
        self, tensors: tuple[str, ...], shape: tuple[int, ...], precision: Precision
    ) -> Stored:
        count = len(tensors) * prod(shape)
        codes = self._take(packed_bytes(count, precision.bits))
        stored = Stored(tensors, shape, precision, codes)
        if precision.dtype == "fp16":
            return stored
        groups = len(tensors) * shape[0] * stored.groups
        scales = self._take(2 * groups)
        points = None if precision.symmetric else self._take(packed_bytes(groups, precision.bits))
        return Stored(tensors, shape, precision, codes, scales, points)

    def _take(self, size: int) -> Span:
        offset = -(-self.size // ALIGNMENT) * ALIGNMENT
        self.size = offset + size
        return Span(offset, size)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that *count* numbers of so many bits take."""
    return -(-count * bits // 8)
