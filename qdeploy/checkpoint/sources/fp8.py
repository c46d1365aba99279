"""A matrix of 8-bit floats with a scale for each block, for each row, or one for all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import FLOATS
from qdeploy.errors import CheckpointError
from qdeploy.quantization.precision import BLOCK, PER_CHANNEL, Precision, ScaleType

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows
    from qdeploy.quantization.quantized import Quantized

E4M3 = "F8_E4M3"
KEPT_BLOCK = (BLOCK, BLOCK)
"""The blocks that runtimes multiply by; a row and a whole tensor have one scale a row."""
SCALE_SUFFIX = "_scale_inv"
"""Suffix of the tensor that holds the scales, after the name of the tensor that they are for."""


@dataclass(frozen=True)
class ScaledFP8(Source):
    """value = float * scale of its block, as DeepSeek-V3's `weight_dequant` defines it.

    Attributes:
        scales: one for each block, those at the edges included.
        block: rows and columns of a block.
    """

    tensor: TensorInfo
    scales: TensorInfo
    block: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (self.tensor, self.scales)

    @property
    def precision(self) -> Precision:
        size = PER_CHANNEL if self._by_row else self.block[1]
        # unchecked: a group size that profiles cannot ask for
        return Precision(dtype="fp8").model_copy(update={"group_size": size})

    @property
    def scale_type(self) -> ScaleType:
        return "float32"

    def why_not_codes(self) -> str | None:
        if self._by_row:
            return None
        high, wide = self.block
        if self.block != KEPT_BLOCK:
            return f"runtimes take no blocks of {high} x {wide}"
        if self.shape[1] % wide:
            return f"the last block of {wide} of its {self.shape[1]} columns is cut short"
        return None

    @property
    def _by_row(self) -> bool:
        """Whether a scale is for one whole row, or one for all of them."""
        by_row = self.block[0] == 1 and self._grid[1] == 1
        return by_row or (self._grid == (1, 1) and self.block != KEPT_BLOCK)

    @property
    def _grid(self) -> tuple[int, ...]:
        return scale_shape(self.shape, self.block)

    def why_not(self) -> str | None:
        wanted, found = self._grid, self.scales.shape
        flat = wanted[1] == 1 and found in ((wanted[0],), () if wanted[0] == 1 else wanted)
        if found != wanted and not flat:
            return f"has scales {list(self.scales.shape)}, not {list(wanted)}"
        if self.scales.dtype not in FLOATS:
            return f"has scales of type {self.scales.dtype}"
        return None

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        file, scale_file = files[self.tensor.file], files[self.scales.file]
        high, wide = self.block
        across = self._grid[1]

        def read(start: int, stop: int, out: Floats) -> None:
            file.read(self.tensor.name, start, stop, out)
            top, bottom = start // high, -(-stop // high)
            values = np.empty((bottom - top, across), np.float32)
            scale_file.read(self.scales.name, top, bottom, values, columns=across)
            columns = np.repeat(values, wide, axis=1)[:, : out.shape[1]]
            for row, scale in enumerate(columns, start=top):
                begin, end = row * high - start, (row + 1) * high - start
                out[max(0, begin) : end] *= scale

        return read

    def codes(self, files: Files, start: int, stop: int) -> Quantized:
        """Rows as they are stored, with the scales of each row, float32 [rows, G]."""
        import numpy as np

        from qdeploy.quantization.quantized import Quantized

        file, (high, _) = files[self.tensor.file], self.block
        codes = file.stored(self.tensor.name, np.dtype("u1"))[start:stop].copy()
        if ((codes & 0x7F) == 0x7F).any():
            raise self._not_finite(self.tensor, files)
        top, bottom = start // high, -(-stop // high)
        scales = np.empty((bottom - top, self._grid[1]), np.float32)
        files[self.scales.file].read(self.scales.name, top, bottom, scales, columns=self._grid[1])
        if not np.isfinite(scales).all():
            raise self._not_finite(self.scales, files)
        return Quantized(self.precision, codes, scales[np.arange(start, stop) // high - top], None)

    def _not_finite(self, tensor: TensorInfo, files: Files) -> CheckpointError:
        what = f"{tensor.name} has a value that is infinite or not a number"
        return CheckpointError(what, where=files[tensor.file].path)

    def forget(self, files: Files, start: int, stop: int) -> None:
        files[self.tensor.file].forget(self.tensor.name, start, stop)


def scale_shape(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...]:
    """Shape of the scales of a matrix: one a block, those at the edges included."""
    return tuple(-(-size // side) for size, side in zip(shape, block, strict=True))
