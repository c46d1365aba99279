"""A weight that is some rows of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows


@dataclass(frozen=True)
class Rows(Source):
    """The rows *numbers* of *base*, in this order, as floats."""

    base: Source
    numbers: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.numbers), *self.base.shape[1:])

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return self.base.tensors

    def why_not(self) -> str | None:
        return self.base.why_not()

    def reader(self, files: Files) -> ReadRows:
        read_base = self.base.reader(files)

        def read(start: int, stop: int, out: Floats) -> None:
            for place, number in enumerate(self.numbers[start:stop]):
                read_base(number, number + 1, out[place : place + 1])

        return read

    def forget(self, files: Files, start: int, stop: int) -> None:
        for number in self.numbers[start:stop]:
            self.base.forget(files, number, number + 1)
