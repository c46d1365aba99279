"""Read a checkpoint's weights as float32 rows, or as the integer codes that are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.sources.base import Weight
from qdeploy.checkpoint.sources.safetensors import TensorFile
from qdeploy.errors import CheckpointError
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = NDArray[np.float32]

BLOCK_BYTES = 16 * 2**20
"""Size of a block of rows as float32."""
PIECE_ELEMENTS = 2**18
"""Elements processed at a time: 1 MiB of float32 fits into the CPU's cache."""


class WeightReader:
    """The weights of an open checkpoint. Reading is thread-safe."""

    def __init__(self, weights: Iterable[Weight], files: Mapping[str, TensorFile]) -> None:
        """See `open_weights`. *files*: by their names in `TensorInfo.file`."""
        self._sources = {weight.name: weight.source for weight in weights}
        self._files = files

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all weights."""
        return tuple(self._sources)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the weight *name*; KeyError if there is no such weight."""
        return self._sources[name].shape

    def rows(
        self, name: str, start: int = 0, stop: int | None = None, *, out: Floats | None = None
    ) -> Floats:
        """Rows *start* to *stop* of a weight, float32 [stop - start, K]; elements of a vector.

        They are written to *out*, of any strides, if given, else to a new array. The pages of the
        file that were read are released.

        Raises:
            CheckpointError: a value is infinite or NaN; the error names tensor and row.
            InputError: a value of the adapter is infinite or NaN.
        """
        source = self._sources[name]
        shape = source.shape
        stop = shape[0] if stop is None else stop
        if not 0 <= start <= stop <= shape[0]:
            raise ValueError(f"rows {start} to {stop} of {name}, which has {shape[0]}")
        block = np.empty((stop - start, *shape[1:]), np.float32) if out is None else out
        read = source.reader(self._files)
        for first, piece in _pieces(block, start):
            read(first, first + len(piece), piece)
            _check_finite(name, first, piece)
        source.forget(self._files, start, stop)
        return block

    def codes(self, name: str, start: int, stop: int) -> Quantized:
        """Rows *start* to *stop* of a weight that is stored as integer codes, as they are."""
        source = self._sources[name]
        found = source.codes(self._files, start, stop)
        source.forget(self._files, start, stop)
        return found

    def spans(self, name: str, *, max_bytes: int = BLOCK_BYTES) -> list[tuple[int, int]]:
        """Split the rows of a weight into spans of one row or at most *max_bytes* of float32."""
        rows, *rest = self.shape(name)
        step = max(1, max_bytes // max(1, 4 * prod(rest)))
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    def blocks(self, name: str, *, max_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Floats]]:
        """Yield (first row, rows) of each span: see `spans` and `rows`."""
        for start, stop in self.spans(name, max_bytes=max_bytes):
            yield start, self.rows(name, start, stop)

    def close(self) -> None:
        """Close every file."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WrappedReader(WeightReader):
    """The weights of another reader, which is closed with it; subclasses change some answers."""

    def __init__(self, source: WeightReader) -> None:
        self._source = source

    @property
    def names(self) -> tuple[str, ...]:
        return self._source.names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._source.shape(name)

    def rows(
        self, name: str, start: int = 0, stop: int | None = None, *, out: Floats | None = None
    ) -> Floats:
        return self._source.rows(name, start, stop, out=out)

    def codes(self, name: str, start: int, stop: int) -> Quantized:
        return self._source.codes(name, start, stop)

    def close(self) -> None:
        self._source.close()


def open_weights(checkpoint: Checkpoint) -> WeightReader:
    """Open the files that the weights of *checkpoint* are read from, its adapter's included.

    Whether the weights are those of the architecture is checked by `check_weights`.

    Raises:
        CheckpointError: a file cannot be read, has changed since *checkpoint* was read, or contains
            a weight of an unsupported type.
        InputError: the adapter does not fit the checkpoint.
    """
    weights, paths = checkpoint.weights, checkpoint.files()
    tensors = {t for weight in weights for t in weight.source.tensors}
    files = {name: TensorFile(paths[name]) for name in sorted({t.file for t in tensors})}
    for tensor in tensors:
        file = files[tensor.file]
        place = file.tensors.get(tensor.name)
        if place is None or (place.dtype, place.shape) != (tensor.dtype, tensor.shape):
            raise CheckpointError(
                f"tensor {tensor.name!r} is not what it was: the file has changed", where=file.path
            )
    for weight in weights:
        if problem := weight.source.why_not():
            where = files[weight.source.tensors[0].file].path
            raise CheckpointError(f"tensor {weight.name!r} {problem}", where=where)
    return WeightReader(weights, files)


def _pieces(block: Floats, start: int) -> Iterator[tuple[int, Floats]]:
    """Split a block whose first row is *start* into (row, view) pairs that fit into the cache."""
    step = max(1, PIECE_ELEMENTS // max(1, prod(block.shape[1:])))
    for first in range(0, len(block), step):
        yield start + first, block[first : first + step]


def _check_finite(name: str, first: int, rows: Floats) -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        row = first + int(np.argmin(finite.reshape(len(rows), -1).all(axis=1)))
        raise CheckpointError(f"row {row} has a value that is infinite or not a number", where=name)
