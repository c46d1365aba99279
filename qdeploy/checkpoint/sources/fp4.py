"""A matrix of 4-bit floats, two a byte, with a scale for each block of columns: NVFP4 and MXFP4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.fp8 import E4M3

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows

E8M0 = ("U8", "F8_E8M0")
BLOCK = {E4M3: 16, **dict.fromkeys(E8M0, 32)}
"""Columns of a block, by the type of its scale: NVFP4's, or MXFP4's (OCP Microscaling Formats)."""
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The values of the lower three bits; the fourth is the sign."""
E8M0_BIAS = 127


@dataclass(frozen=True)
class ScaledFP4(Source):
    """value = float * scale of its block [* scale of the tensor].

    Attributes:
        tensor: uint8 [N, K / 2], the even column in the low half.
        scales: [N, K / 16] E4M3, or [N, K / 32] powers of two (E8M0).
        whole: one scale for the tensor, or None.
        divides: the values are divided by *whole*, as compressed-tensors stores it.
    """

    tensor: TensorInfo
    scales: TensorInfo
    whole: TensorInfo | None = None
    divides: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.tensor.shape[0], 2 * self.tensor.shape[1])

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (self.tensor, self.scales, *((self.whole,) if self.whole else ()))

    @property
    def scheme(self) -> str:
        return "nvfp4" if self.scales.dtype == E4M3 else "mxfp4"

    def why_not(self) -> str | None:
        rows, columns = self.shape
        if (block := BLOCK.get(self.scales.dtype)) is None:
            return f"has scales of type {self.scales.dtype}"
        if self.scales.shape != (rows, -(-columns // block)):
            return f"has scales {list(self.scales.shape)}, not one for {block} columns"
        if self.whole and (self.whole.dtype != "F32" or self.whole.numel != 1):
            return f"has {self.whole.name} {self.whole.dtype} {list(self.whole.shape)}, not F32 [1]"
        return None

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        codes = files[self.tensor.file].stored(self.tensor.name, np.dtype("u1"))
        values = np.array([*E2M1, *(-value for value in E2M1)], np.float32)
        factor = np.float32(1)
        if self.whole:
            stored = np.float32(
                files[self.whole.file].stored(self.whole.name, np.dtype("<f4")).item()
            )
            factor = np.float32(1) / stored if self.divides else stored

        def read(start: int, stop: int, out: Floats) -> None:
            packed = codes[start:stop]
            out[:, 0::2] = values[packed & 15]
            out[:, 1::2] = values[packed >> 4]
            scales = self._scales(files, start, stop) * factor
            out *= np.repeat(scales, BLOCK[self.scales.dtype], axis=1)[:, : out.shape[1]]

        return read

    def _scales(self, files: Files, start: int, stop: int) -> NDArray[np.float32]:
        import numpy as np

        file, name = files[self.scales.file], self.scales.name
        if self.scales.dtype == E4M3:
            found = np.empty((stop - start, self.scales.shape[1]), np.float32)
            file.read(name, start, stop, found)
            return found
        exponents = file.stored(name, np.dtype("u1"))[start:stop].astype(np.int32)
        powers = np.ldexp(np.float32(1), exponents - E8M0_BIAS)
        return np.where(exponents == 255, np.float32(np.nan), powers).astype(np.float32)
