"""`Source`: where one weight of a checkpoint is stored, and how its values are read from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.quantization.precision import Precision, ScaleType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.sources.safetensors import TensorFile
    from qdeploy.quantization.quantized import Quantized

    Floats = NDArray[np.float32]
    Files = Mapping[str, TensorFile]
    """The open files of a checkpoint, by their names in `TensorInfo.file`."""
    ReadRows = Callable[[int, int, Floats], None]
    """Writes rows *start* to *stop* of a weight into an array, float32 [stop - start, ...]."""


class Source(ABC):
    """How one weight is stored: in one tensor of a file, in a part of one, or in several.

    A source knows shapes and types only. The files are given to it when they are open.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight: [N, K], or [N] for a vector."""

    @property
    @abstractmethod
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The stored tensors that it reads."""

    @property
    def precision(self) -> Precision | None:
        """Precision of the codes that are stored, integers or FP8; None where values are floats."""
        return None

    @property
    def scheme(self) -> str | None:
        """Name of the quantization method, e.g. `awq`; None where little is lost: of floats.

        Without a `precision`, its codes stand for values that are no multiples of a scale.
        """
        return None

    @property
    def scale_type(self) -> ScaleType:
        """Type that holds the scales of the codes: float16 for those of 16 bits."""
        return "float16"

    def why_not(self) -> str | None:
        """Why the values cannot be read, as the end of a sentence about the weight; or None."""
        return None

    def why_not_codes(self) -> str | None:
        """Why the codes cannot be taken over as they are stored, although values can be read.

        None if they can, and where there are none.
        """
        return None

    @abstractmethod
    def reader(self, files: Files) -> ReadRows:
        """The function that reads the values of rows, as float32. It is thread-safe.

        It is made once for a block of rows and called for a few rows at a time, so it may hold
        what all rows share.
        """

    def codes(self, files: Files, start: int, stop: int) -> Quantized:
        """Rows *start* to *stop* as stored, in the layout of `Quantized`.

        Raises:
            CheckpointError: what is stored is not what the config says.
        """
        raise NotImplementedError(f"{type(self).__name__} has no codes")

    def forget(self, files: Files, start: int, stop: int) -> None:
        """Release the pages of the files that these rows were read from: see `TensorFile.forget`.

        By default all pages of the tensors: rows of most layouts are spread over all of them.
        """
        for tensor in self.tensors:
            files[tensor.file].forget(tensor.name)


@dataclass(frozen=True)
class Weight:
    """One weight of a model: its name in the architecture's table, and its source."""

    name: str
    source: Source

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def numel(self) -> int:
        return prod(self.shape)
