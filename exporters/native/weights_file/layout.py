"""The layout of a weights file, computed before a byte of it is written.

`FileLayout` is what the writer needs of a layout, `WeightsLayout` the one that graphs refer to.

Offsets follow from shapes and precisions alone. So the graph can be written first, and the weights
can be streamed to their offsets afterwards, in any number of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Protocol

from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import PER_CHANNEL, Precision, ScaleType


@dataclass(frozen=True)
class Span:
    """A range of bytes of the file."""

    offset: int
    size: int


@dataclass(frozen=True)
class PackedWeight:
    """A weight in the file: one tensor of the checkpoint, or several with equal columns.

    By default the tensors follow one another. With `interleaved` = n, the rows of each n tensors
    alternate: the first row of each, then the second row of each, and so on.

    Attributes:
        tensors: names in the checkpoint.
        shapes: of each: [N, K], or [N] for a vector.
        encoding: how it is packed.
        codes: [all rows, K], packed by the encoding; the values of a float weight.
        scales, zero_points: one for each group; None where the weight has none.
        interleaved: how many tensors alternate row by row; 1 for none.
        given: of each tensor, whether its codes are taken as they are; otherwise it is rounded.
        scale_type: in which the scales are kept.
    """

    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    precision: Precision
    encoding: Encoding = field(repr=False)
    codes: Span
    scales: Span | None = None
    zero_points: Span | None = None
    interleaved: int = 1
    given: tuple[bool, ...] = ()
    scale_type: ScaleType = "float16"

    @property
    def spans(self) -> tuple[Span | None, Span | None, Span | None]:
        """Where the parts lie: codes, scales, zero points."""
        return self.codes, self.scales, self.zero_points

    @property
    def nbytes(self) -> int:
        return sum(span.size for span in self.spans if span)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor; stacked tensors all have it."""
        return self.shapes[0]

    @property
    def columns(self) -> int:
        return prod(self.shape[1:])

    @property
    def rows(self) -> int:
        """Rows of all tensors together."""
        return sum(shape[0] for shape in self.shapes)

    @cached_property
    def first_rows(self) -> tuple[int, ...]:
        """Rows of the weight before each tensor, not counting interleaving."""
        return tuple(accumulate((shape[0] for shape in self.shapes), initial=0))

    @property
    def groups(self) -> int:
        """Groups in a row."""
        size = self.precision.group_size
        return 1 if size == PER_CHANNEL else self.columns // size


class FileLayout(Protocol):
    """What is written into one file."""

    @property
    def size(self) -> int:
        """Bytes of the file."""

    @property
    def inlined(self) -> Sequence[tuple[int, bytes]]:
        """Offset and content of what is known before the weights."""

    @property
    def weights(self) -> Sequence[PackedWeight]:
        """Every weight, in the order in which they are written."""


class WeightsLayout:
    """The layout of one weights file. Weights are placed one after another."""

    def __init__(self, tensors: Mapping[str, TensorPlan], encoding: Encoding) -> None:
        """*tensors*: the plan of every tensor by its name."""
        self._plans = tensors
        self.encoding = encoding
        self._inline: dict[bytes, Span] = {}
        self._stored: dict[tuple[str, ...], PackedWeight] = {}
        self.size = 0

    @property
    def inlined(self) -> list[tuple[int, bytes]]:
        """Offset and content of every small constant."""
        return [(span.offset, content) for content, span in self._inline.items()]

    @property
    def weights(self) -> list[PackedWeight]:
        """Every weight, in the order of the file."""
        return list(self._stored.values())

    def inline(self, content: bytes) -> Span:
        """Place a small constant, or find the place of an equal one."""
        if content not in self._inline:
            self._inline[content] = self._take(len(content))
        return self._inline[content]

    def form(self, tensor: str) -> tuple[Precision, ScaleType]:
        """What tensors that are stored as one weight must have in common; places nothing."""
        plan = self._plans[tensor]
        return plan.precision, plan.scales

    def weight(self, *tensors: str, interleaved: int = 1) -> PackedWeight:
        """Place a weight, or find the place of the same one."""
        if tensors not in self._stored:
            self._stored[tensors] = self._place(tensors, interleaved)
        return self._stored[tensors]

    def _place(self, tensors: tuple[str, ...], interleaved: int) -> PackedWeight:
        import numpy as np

        plans = [self._plans[name] for name in tensors]
        shapes = tuple(plan.shape for plan in plans)
        if len({self.form(name) for name in tensors}) > 1:
            raise ValueError(f"{tensors[0]} and others have several forms")
        precision, scale_type = self.form(tensors[0])
        if precision.dtype == "fp16":
            element = np.dtype(self.encoding.float_type(len(shapes[0]))).itemsize
            codes = self._take(element * sum(map(prod, shapes)))
            return PackedWeight(
                tensors, shapes, precision, self.encoding, codes, interleaved=interleaved
            )
        rows = sum(shape[0] for shape in shapes)
        sizes = self.encoding.sizes(precision, rows, prod(shapes[0][1:]), scale_type)
        codes = self._take(sizes.codes)
        scales = self._take(sizes.scales) if sizes.scales else None
        points = self._take(sizes.zero_points) if sizes.zero_points else None
        given = tuple(plan.takes_codes for plan in plans)
        return PackedWeight(
            tensors, shapes, precision, self.encoding, codes, scales, points, interleaved, given,
            scale_type,
        )  # fmt: skip

    def _take(self, size: int) -> Span:
        step = self.encoding.alignment(size)
        offset = -(-self.size // step) * step
        self.size = offset + size
        return Span(offset, size)
