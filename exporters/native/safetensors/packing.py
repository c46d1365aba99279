"""Packing of a linear layer's weight as compressed-tensors stores it, which vLLM reads as well.

Of a layer [N, K] with codes of b bits in G groups a row (compressed-tensors 0.20,
`compressors/pack_quantized`, `compressors/naive_quantized`):

    pack-quantized   weight_packed      int32 [N, ceil(K*b / 32)], words of 32 / b codes of a row
                     weight_scale       [N, G]
                     weight_zero_point  int32 [ceil(N*b / 32), G], words of 32 / b rows;
                                        only where asymmetric
                     weight_shape       int64 [2], N and K
    int-quantized    weight             int8 [N, K]
                     weight_scale       [N, 1]
                     input_scale        float32 [1]; only where it is static
    float-quantized  weight             E4M3 [N, K]
                     weight_scale       [N, 1], or one for each block of 128 x 128

Packed numbers are in offset binary, the first in the lowest bits of a word; the last word of a row
or column is filled with zero bits.
"""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from qdeploy.checkpoint.headers import DTYPE_BITS
from qdeploy.exporters.native.weights_file.packing import Encoding, Parts, Sizes
from qdeploy.quantization.precision import BLOCK, PER_CHANNEL, Precision, ScaleType

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.quantization.quantized import Quantized

WORD_BITS = 32
FLOAT_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Names of float types in a header."""


class Entry(NamedTuple):
    """A tensor as a header describes it.

    Attributes:
        name: the last part of its name.
        dtype: by the header's name.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def itemsize(self) -> int:
        return DTYPE_BITS[self.dtype] // 8

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.itemsize


class Entries(NamedTuple):
    """The tensors of a weight; None for one that it does not have."""

    codes: Entry
    scales: Entry | None = None
    zero_points: Entry | None = None


class Stored(Encoding):
    """An encoding whose parts are tensors with names, types and shapes.

    Args:
        floats: type of weights that are not quantized.
    """

    format: ClassVar[str]
    """Compressed-tensors' name of it."""
    says_shape: ClassVar[bool] = False
    """Whether N and K are stored as well, since codes do not tell them."""
    says_input_scale: ClassVar[bool] = False
    """Whether the scale that the layer's inputs are rounded with is stored as well."""

    def __init__(self, floats: str) -> None:
        self._floats = floats

    @abstractmethod
    def entries(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Entries:
        """The tensors of the first *rows* rows of a weight."""

    def sizes(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Sizes:
        found = self.entries(precision, rows, columns, scales)
        return Sizes(*(entry.nbytes if entry else 0 for entry in found))

    def float_type(self, rank: int) -> str:
        return self._floats


class Words(Stored):
    """`pack-quantized`: codes of four or eight bits in words."""

    format = "pack-quantized"
    says_shape = True
    step = WORD_BITS // 4

    def entries(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Entries:
        bits, groups = precision.bits, groups_of(precision, columns)
        packed = (rows, _words(columns, bits))
        points = Entry("weight_zero_point", "I32", (_words(rows, bits), groups))
        return Entries(
            Entry("weight_packed", "I32", packed),
            Entry("weight_scale", FLOAT_DTYPES[scales], (rows, groups)),
            None if precision.symmetric else points,
        )

    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        from qdeploy.quantization.packing import offset_binary

        bits, points = weight.precision.bits, weight.zero_points
        codes = _pack(offset_binary(weight), bits)
        packed = None if points is None else _pack(points.T, bits).T
        return Parts(codes, weight.scales.astype(scales, copy=False), _contiguous(packed))


class Bytes(Stored):
    """`int-quantized`: symmetric codes of eight bits with a scale a row."""

    format = "int-quantized"

    def entries(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Entries:
        return Entries(
            Entry("weight", "I8", (rows, columns)),
            Entry("weight_scale", FLOAT_DTYPES[scales], (rows, 1)),
        )

    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        return Parts(weight.codes, weight.scales.astype(scales, copy=False))


class BytesByStaticInputs(Bytes):
    """The same, with one scale for the layer's inputs.

    Its type and shape are those of vLLM's parameter (0.32, `compressed_tensors_w8a8_int8.py`); it
    loads no scale of another shape. compressed-tensors has the same shape, in the model's type.
    """

    says_input_scale = True


class SmallFloats(Stored):
    """`float-quantized`: FP8 with a scale a row."""

    format = "float-quantized"
    step = 1

    def entries(
        self, precision: Precision, rows: int, columns: int, scales: ScaleType = "float16"
    ) -> Entries:
        grid = (-(-rows // self.step), groups_of(precision, columns))
        return Entries(
            Entry("weight", "F8_E4M3", (rows, columns)),
            Entry("weight_scale", FLOAT_DTYPES[scales], grid),
        )

    def encode(self, weight: Quantized, scales: ScaleType = "float16") -> Parts:
        grid = weight.scales[:: self.step].astype(scales, copy=False)
        return Parts(weight.codes, _contiguous(grid))


class SmallFloatBlocks(SmallFloats):
    """`float-quantized`: FP8 with a scale for each block."""

    step = BLOCK


def groups_of(precision: Precision, columns: int) -> int:
    """Groups in a row of so many columns."""
    size = precision.group_size
    return 1 if size == PER_CHANNEL else columns // size


def _words(count: int, bits: int) -> int:
    return -(-count * bits // WORD_BITS)


def _pack(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """Pack each row of *numbers* [A, B] into words: int32 [A, ceil(B*bits / 32)]."""
    import numpy as np

    from qdeploy.quantization.packing import pack4

    rows, count = numbers.shape
    per_word = WORD_BITS // bits
    missing = -count % per_word
    padded = np.pad(numbers, ((0, 0), (0, missing))) if missing else numbers
    packed = pack4(padded) if bits == 4 else np.ascontiguousarray(padded)
    return packed.reshape(-1).view("<i4").reshape(rows, -1)


def _contiguous(array: NDArray[Any] | None) -> NDArray[Any] | None:
    import numpy as np

    return None if array is None else np.ascontiguousarray(array)
