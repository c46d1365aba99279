"""A weight stored as floats: a whole tensor, or one matrix of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows

FLOATS = ("BF16", "F16", "F32", "F64")
"""Stored types that are read as they are, by safetensors' names."""


@dataclass(frozen=True)
class Plain(Source):
    """A tensor of floats."""

    tensor: TensorInfo

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (self.tensor,)

    def why_not(self) -> str | None:
        dtype = self.tensor.dtype
        if dtype in FLOATS:
            return None
        if dtype.startswith("F8"):
            return f"is {dtype}, but without scales that config.json declares"
        return f"is {dtype}; readable are {', '.join(FLOATS)}"

    def reader(self, files: Files) -> ReadRows:
        file, name = files[self.tensor.file], self.tensor.name

        def read(start: int, stop: int, out: Floats) -> None:
            file.read(name, start, stop, out)

        return read

    def forget(self, files: Files, start: int, stop: int) -> None:
        files[self.tensor.file].forget(self.tensor.name, start, stop)


@dataclass(frozen=True)
class Slice(Source):
    """Some rows of a stack of matrices, [E, N, K], seen as one matrix of E * N rows.

    Attributes:
        first: the first of the rows.
        rows: how many.
    """

    tensor: TensorInfo
    first: int
    rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.tensor.shape[-1])

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (self.tensor,)

    def why_not(self) -> str | None:
        return Plain(self.tensor).why_not()

    def reader(self, files: Files) -> ReadRows:
        file, name, first = files[self.tensor.file], self.tensor.name, self.first

        def read(start: int, stop: int, out: Floats) -> None:
            file.read(name, first + start, first + stop, out, columns=self.shape[1])

        return read

    def forget(self, files: Files, start: int, stop: int) -> None:
        columns = self.shape[1]
        files[self.tensor.file].forget(
            self.tensor.name, self.first + start, self.first + stop, columns=columns
        )
