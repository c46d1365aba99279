"""`Encoding`: how a format packs the codes, scales and zero points of a weight into bytes.

Quantization gives every format the same numbers. A format may pack, pad, shift or repeat them, but
not change the values they represent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from qdeploy.checkpoint.sources.codes import REQUANTIZE
from qdeploy.errors import CheckpointError, Refusal
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.quantization.precision import Precision, ScaleType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qdeploy.quantization.quantized import Quantized

CACHE_LINE = 64
"""Weights begin at a cache line, so that a runtime can use the mapped file as it is."""


class Sizes(NamedTuple):
    """Bytes of each part of some rows of a weight; 0 for a part that the weight does not have."""

    codes: int
    scales: int = 0
    zero_points: int = 0


class Parts(NamedTuple):
    """The arrays that are written to the file for some rows of a weight."""

    codes: NDArray[Any]
    scales: NDArray[Any] | None = None
    zero_points: NDArray[Any] | None = None


class Encoding(ABC):
    """One format's packing. It works row by row, so a weight can be written block by block."""

    step: ClassVar[int] = 2
    """Rows that are packed together: two rows of four-bit numbers end with a byte."""

    def why_not(self, tensor: TensorPlan) -> Refusal | None:
        """Why this weight cannot be laid out as planned, or None if it can."""
        return None

    def alignment(self, size: int) -> int:
        """Alignment, in bytes, of a part of *size* bytes."""
        return CACHE_LINE

    @abstractmethod
    def sizes(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Sizes:
        """Bytes of the first *rows* rows of a quantized weight with such scales."""

    @abstractmethod
    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        """Bytes of a multiple of `step` rows, or of the last ones, of a quantized weight.

        Raises:
            CheckpointError: the format's type does not hold a scale.
        """

    def float_type(self, rank: int) -> str:
        """The type, of `floats.BYTES`, in which an unquantized weight of this rank is stored."""
        return "float16"


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of *count* numbers of *bits* bits each, packed without gaps."""
    return -(-count * bits // 8)


def convert_scales(scales: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The same scales in another float type.

    Raises:
        CheckpointError: it does not hold one of them.
    """
    import numpy as np

    if scales.dtype == dtype or scales.dtype == "float16":
        return scales.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        found = scales.astype(dtype)
    changed = found != scales
    if changed.any():
        raise CheckpointError(
            f"{dtype}, which the format has for scales, does not hold {scales[changed][0]:.9g}",
            fix=REQUANTIZE,
        )
    return found
