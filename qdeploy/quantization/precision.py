"""The precision of a weight: element type, symmetry and group size of its codes."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from qdeploy.storage.toml_file import Strict

PER_CHANNEL = -1
"""The group size that means one scale for each row of the weight (each output channel)."""

DType = Literal["int4", "int8", "nf4", "fp8", "fp16"]
ScaleType = Literal["float16", "float32"]
"""Type in which scales are stored, by NumPy's name."""
BITS: dict[str, int] = {"int4": 4, "nf4": 4, "int8": 8, "fp8": 8, "fp16": 16}
FLOATS = ("fp8", "fp16")
"""Types whose numbers are floats: they have no zero points."""
BLOCK = 128
"""Rows and columns that share a scale where FP8 is stored in blocks."""


class Precision(Strict):
    """How one kind of weight is stored.

    Attributes:
        dtype: element type of the codes; `fp16` is not quantized, `fp8` is E4M3.
        symmetric: without zero points.
        group_size: input channels that share a scale; -1 is one scale for each output channel.
            Of FP8 that a checkpoint stores it may be 128, which are blocks of 128 x 128.
    """

    dtype: DType
    symmetric: bool = False
    group_size: int = PER_CHANNEL

    @model_validator(mode="after")
    def _consistent(self) -> Precision:
        if self.dtype in FLOATS and (self.symmetric or self.group_size != PER_CHANNEL):
            raise ValueError(f"{self.dtype} takes neither symmetric nor group_size")
        size = self.group_size
        if size != PER_CHANNEL and (size < 16 or size & (size - 1)):
            raise ValueError(f"group_size {size} is neither -1 nor a power of two from 16 up")
        return self

    @property
    def bits(self) -> int:
        return BITS[self.dtype]

    @property
    def has_zero_points(self) -> bool:
        return self.dtype in ("int4", "int8") and not self.symmetric

    def __str__(self) -> str:
        """The short form used in tables, e.g. `int4 asym g128`, `int8 sym channel`, `fp16`."""
        if self.dtype == "fp16":
            return "fp16"
        group = "channel" if self.group_size == PER_CHANNEL else f"g{self.group_size}"
        if self.dtype == "fp8":
            return "fp8 channel" if self.group_size == PER_CHANNEL else "fp8 blocks"
        if self.dtype == "nf4":
            return f"nf4 {group}"
        return f"{self.dtype} {'sym' if self.symmetric else 'asym'} {group}"
