"""A matrix of 8-bit floats with a scale for each block, for each row, or one for all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import FLOATS

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows

E4M3 = "F8_E4M3"
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

    def forget(self, files: Files, start: int, stop: int) -> None:
        files[self.tensor.file].forget(self.tensor.name, start, stop)


def scale_shape(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...]:
    """Shape of the scales of a matrix: one a block, those at the edges included."""
    return tuple(-(-size // side) for size, side in zip(shape, block, strict=True))
