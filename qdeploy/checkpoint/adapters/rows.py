"""A weight of which some rows are replaced: PEFT's trainable tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.adapters.lora import Changed
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows


@dataclass(frozen=True)
class RowsReplaced(Changed):
    """A weight [N, K] with some rows taken from elsewhere.

    Attributes:
        rows: their numbers.
        values: [len(rows), K], in the same order.
    """

    base: Source
    rows: tuple[int, ...]
    values: TensorInfo

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (*self.base.tensors, self.values)

    def reader(self, files: Files) -> ReadRows:
        read_base, file = self.base.reader(files), files[self.values.file]

        def read(start: int, stop: int, out: Floats) -> None:
            read_base(start, stop, out)
            for number, row in enumerate(self.rows):
                if start <= row < stop:
                    place = out[row - start : row - start + 1]
                    file.read(self.values.name, number, number + 1, place)

        return read
