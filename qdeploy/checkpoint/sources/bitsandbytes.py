"""A matrix in bitsandbytes' four bits: a table of 16 values, and the largest magnitude of blocks.

The matrix is flattened, two codes a byte, the first in the high half; each block of so many
elements has its magnitude. Where that is quantized in turn ("nested"), it is

    table of 256 values [code] * magnitude of its block + offset

as `dequantize_4bit` of bitsandbytes.functional computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows


@dataclass(frozen=True)
class Nested:
    """How magnitudes are quantized.

    Attributes:
        table: float32 [256].
        magnitudes: float32, one for each *block* of them.
        offset: is added to all.
    """

    table: TensorInfo
    magnitudes: TensorInfo
    block: int
    offset: float


@dataclass(frozen=True)
class BlockTable(Source):
    """value = table[code] * magnitude of its block.

    Attributes:
        size: the matrix' own N and K.
        table: float32 [16].
        magnitudes: float32, one a block; uint8 where *nested*.
        block: elements of a block.
    """

    tensor: TensorInfo
    size: tuple[int, int]
    table: TensorInfo
    magnitudes: TensorInfo
    block: int
    nested: Nested | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    @property
    def scheme(self) -> str:
        return "bitsandbytes"

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        nested = (self.nested.table, self.nested.magnitudes) if self.nested else ()
        return (self.tensor, self.table, self.magnitudes, *nested)

    def why_not(self) -> str | None:
        elements = self.size[0] * self.size[1]
        blocks = -(-elements // self.block)
        wanted = [
            (self.tensor, "U8", -(-elements // 2)),
            (self.table, "F32", 16),
            (self.magnitudes, "U8" if self.nested else "F32", blocks),
        ]
        if self.nested:
            wanted += [
                (self.nested.table, "F32", 256),
                (self.nested.magnitudes, "F32", -(-blocks // self.nested.block)),
            ]
        for tensor, dtype, count in wanted:
            if (tensor.dtype, tensor.numel) != (dtype, count):
                return (
                    f"{list(self.size)} in blocks of {self.block} needs {count} {dtype} in "
                    f"{tensor.name}, which holds {tensor.numel} {tensor.dtype}"
                )
        return None

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        columns = self.size[1]
        packed = _flat(files, self.tensor, "u1")
        table = _flat(files, self.table, "<f4")

        def read(start: int, stop: int, out: Floats) -> None:
            first, last = start * columns, stop * columns
            pairs = packed[first // 2 : -(-last // 2)]
            codes = np.stack((pairs >> 4, pairs & 15), axis=-1).reshape(-1)
            codes = codes[first % 2 :][: last - first]
            blocks = np.arange(first // self.block, -(-last // self.block))
            magnitudes = np.repeat(self._magnitudes(files, blocks), self.block)
            skipped = first - first // self.block * self.block
            values = table[codes] * magnitudes[skipped : skipped + last - first]
            out[...] = values.reshape(out.shape)

        return read

    def _magnitudes(self, files: Files, blocks: NDArray[np.intp]) -> Floats:
        import numpy as np

        if not self.nested:
            return _flat(files, self.magnitudes, "<f4")[blocks]
        codes = _flat(files, self.magnitudes, "u1")[blocks]
        outer = _flat(files, self.nested.magnitudes, "<f4")[blocks // self.nested.block]
        found: Floats = _flat(files, self.nested.table, "<f4")[codes] * outer
        return found + np.float32(self.nested.offset)


def _flat(files: Files, tensor: TensorInfo, dtype: str) -> NDArray[Any]:
    import numpy as np

    return files[tensor.file].stored(tensor.name, np.dtype(dtype)).reshape(-1)
