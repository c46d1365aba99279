"""A weight that is stored in a way that contradicts the settings of its quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, ReadRows


@dataclass(frozen=True)
class Unreadable(Source):
    """Has no values; checks report its *problem* with all others of the checkpoint."""

    stored: tuple[TensorInfo, ...]
    problem: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored[0].shape

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return self.stored

    def why_not(self) -> str | None:
        return self.problem

    def reader(self, files: Files) -> ReadRows:
        raise NotImplementedError(self.problem)
