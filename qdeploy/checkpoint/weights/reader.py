"""Read a checkpoint's weights as float32 rows: FP8 dequantized, a LoRA adapter merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qdeploy.checkpoint.adapters.lora import Adapter
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import SCALE_SUFFIX, TensorInfo
from qdeploy.checkpoint.sources.dtypes import NUMPY_DTYPES
from qdeploy.checkpoint.sources.safetensors import TensorFile
from qdeploy.checkpoint.weights.check import FP8, fp8_block, scale_shape
from qdeploy.errors import CheckpointError

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = NDArray[np.float32]

LINEAR = ("linear", "router", "lm_head")
"""Roles of the weights that an adapter may change."""
BLOCK_BYTES = 16 * 2**20
"""Size of a block of rows as float32."""
PIECE_ELEMENTS = 2**18
"""Elements processed at a time: 1 MiB of float32 fits into the CPU's cache."""


class WeightReader:
    """The weights of an open checkpoint. Reading is thread-safe."""

    def __init__(
        self,
        tensors: Mapping[str, TensorInfo],
        files: Mapping[str, TensorFile],
        block: tuple[int, int] | None,
        adapter: Adapter | None,
    ) -> None:
        """See `open_weights`. *block*: rows and columns that share a scale in FP8 tensors."""
        self._tensors, self._files = tensors, files
        self._block, self._adapter = block, adapter

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all weights; the scales of FP8 weights are not included."""
        return tuple(n for n in self._tensors if not n.endswith(SCALE_SUFFIX))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the weight *name*; KeyError if there is no such weight."""
        return self._tensors[name].shape

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
        tensor = self._tensors[name]
        stop = tensor.shape[0] if stop is None else stop
        if not 0 <= start <= stop <= tensor.shape[0]:
            raise ValueError(f"rows {start} to {stop} of {name}, which has {tensor.shape[0]}")
        file = self._files[tensor.file]
        patch = self._adapter.patch(name) if self._adapter else None
        block = np.empty((stop - start, *tensor.shape[1:]), np.float32) if out is None else out
        for first, piece in _pieces(block, start):
            file.read(name, first, first + len(piece), piece)
            if tensor.dtype == FP8:
                self._descale(name, first, piece)
            if patch:
                patch.add(piece, first)
            _check_finite(name, first, piece)
        file.forget(name, start, stop)
        return block

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
        if self._adapter:
            self._adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _descale(self, name: str, first: int, piece: Floats) -> None:
        """Multiply rows of an FP8 weight by the scales of their blocks."""
        assert self._block  # noqa: S101
        high, wide = self._block
        scales = self._tensors[name + SCALE_SUFFIX]
        top, bottom = first // high, -(-(first + len(piece)) // high)
        values = np.empty((bottom - top, scales.shape[1]), np.float32)
        self._files[scales.file].read(scales.name, top, bottom, values)
        columns = np.repeat(values, wide, axis=1)[:, : piece.shape[1]]
        for row, scale in enumerate(columns, start=top):
            begin, end = row * high - first, (row + 1) * high - first
            piece[max(0, begin) : end] *= scale


def open_weights(checkpoint: Checkpoint, *, adapter: Path | None = None) -> WeightReader:
    """Open the weight files of *checkpoint*, and the adapter to merge if one is given.

    Whether the tensors are those of the architecture is checked by `check_weights`.

    Raises:
        CheckpointError: a file cannot be read, has changed since *checkpoint* was read, or contains
            a tensor of an unsupported dtype.
        InputError: the adapter does not fit the checkpoint.
    """
    tensors = {t.name: t for t in checkpoint.tensors}
    files = {name: TensorFile(checkpoint.folder / name) for name in checkpoint.weight_files()}
    block = fp8_block(checkpoint)
    for tensor in checkpoint.tensors:
        file = files[tensor.file]
        place = file.tensors.get(tensor.name)
        if place is None or (place.dtype, place.shape) != (tensor.dtype, tensor.shape):
            raise CheckpointError(
                f"tensor {tensor.name!r} is not what it was: the file has changed", where=file.path
            )
        if problem := _unreadable(tensor, tensors, block):
            raise CheckpointError(f"tensor {tensor.name!r} {problem}", where=file.path)
    patches = Adapter(adapter, _linear(checkpoint)) if adapter else None
    return WeightReader(tensors, files, block, patches)


def _linear(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of linear layers.

    An lm_head that is tied to the embedding is excluded, because an adapter for it would change the
    embedding too.
    """
    described = checkpoint.described
    return {t.name: t.shape for t in checkpoint.weights if described[t.name].role in LINEAR}


def _unreadable(
    tensor: TensorInfo, tensors: Mapping[str, TensorInfo], block: tuple[int, int] | None
) -> str | None:
    """Why a tensor cannot be read, or None."""
    if tensor.dtype not in NUMPY_DTYPES:
        return f"is {tensor.dtype}; readable are {', '.join(NUMPY_DTYPES)}"
    if tensor.dtype != FP8:
        return None
    scales = tensors.get(tensor.name + SCALE_SUFFIX)
    if not block or not scales or len(tensor.shape) != 2:
        return f"is {FP8}, but without scales for blocks of it"
    if scales.shape != scale_shape(tensor.shape, block):
        return f"has scales {list(scales.shape)}, not {list(scale_shape(tensor.shape, block))}"
    return None


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
