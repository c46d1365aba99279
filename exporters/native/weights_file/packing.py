"""How a format lays out the bytes of a weight: all that formats differ in, the numbers being equal.

Quantization gives every format the same codes, scales and zero points. A format may pack, pad,
shift or repeat them; it may not change what they stand for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from qdeploy.errors import Refusal
from qdeploy.planning.profile import Precision
from qdeploy.planning.tensor_spec import TensorPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qdeploy.exporters.quantize import Quantized

CACHE_LINE = 64
"""Weights begin at a cache line, so that a runtime can use the mapped file as it is."""


class Sizes(NamedTuple):
    """Bytes that some rows of a weight take in each of its parts; 0 for a part there is not."""

    codes: int
    scales: int = 0
    zero_points: int = 0


class Parts(NamedTuple):
    """The arrays whose bytes go into the file, for some rows of a weight."""

    codes: NDArray[Any]
    scales: NDArray[Any] | None = None
    zero_points: NDArray[Any] | None = None


class Encoding(ABC):
    """One format's layout. Rows follow each other, so a weight can be written block by block."""

    def why_not(self, tensor: TensorPlan) -> Refusal | None:
        """Why this weight cannot be laid out as planned, or None if it can."""
        return None

    def alignment(self, size: int) -> int:
        """What the offset of a part of so many bytes must be a multiple of."""
        return CACHE_LINE

    @abstractmethod
    def sizes(self, precision: Precision, rows: int, columns: int) -> Sizes:
        """Bytes of the first *rows* rows of a quantized weight."""

    @abstractmethod
    def encode(self, weight: Quantized) -> Parts:
        """Bytes of an even number of rows, or of the last ones, of a quantized weight."""

    def float_type(self, rank: int) -> str:
        """NumPy's name for the type that an unquantized weight of this rank is stored as."""
        return "float16"


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that *count* numbers of so many bits take, without gaps."""
    return -(-count * bits // 8)
