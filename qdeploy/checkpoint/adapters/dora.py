"""DoRA: the rows of W + scale * B @ A scaled to trained lengths (arXiv:2402.09353).

As `peft/tuners/lora/dora.py` (PEFT 0.21): an embedding counts as transposed, so that its
columns are scaled.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from qdeploy.checkpoint.adapters.lora import Changed, Merged
from qdeploy.checkpoint.adapters.parts import Parts
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.base import Files, Floats, ReadRows
    from qdeploy.checkpoint.sources.safetensors import TensorFile

STEP = 1024
"""Rows of an embedding that are read at a time for the lengths of its columns."""


@dataclass(frozen=True)
class _Scaled(Changed):
    """The sum of a weight and its change, scaled to trained lengths.

    Attributes:
        magnitude: the lengths, one a row or one a column.
    """

    base: Merged
    magnitude: TensorInfo

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (*self.base.tensors, self.magnitude)


class RowsScaled(_Scaled):
    """The sum of a linear layer [N, K] with its rows scaled to lengths [N]."""

    def reader(self, files: Files) -> ReadRows:
        import numpy as np

        read_base, lengths = self.base.reader(files), _lengths(files, self.magnitude)

        def read(start: int, stop: int, out: Floats) -> None:
            read_base(start, stop, out)
            norms = np.sqrt(np.einsum("nk,nk->n", out, out))
            out *= _ratio(lengths[start:stop], norms)[:, None]

        return read


class ColumnsScaled(_Scaled):
    """The sum of an embedding [V, H] with its columns scaled to lengths [H]."""

    def reader(self, files: Files) -> ReadRows:
        read_base, factors = self.base.reader(files), _factors(self, files)

        def read(start: int, stop: int, out: Floats) -> None:
            read_base(start, stop, out)
            out *= factors

        return read


def scale(merged: Merged, parts: Parts) -> Source:
    """A sum scaled to the magnitudes in *parts*.

    Raises:
        Misfit: they are missing or have another shape.
    """
    rows, columns = merged.shape
    if parts.of_embedding:
        return ColumnsScaled(merged, parts.need("lora_magnitude_vector", (columns,)))
    return RowsScaled(merged, parts.need("lora_magnitude_vector", (rows,)))


_KNOWN: WeakKeyDictionary[TensorFile, Floats] = WeakKeyDictionary()
"""Factors of an embedding's columns, which need all of its rows, by the open file of the adapter.

An adapter has one embedding."""
_LOCK = threading.Lock()


def _factors(scaled: ColumnsScaled, files: Files) -> Floats:
    """What each column is multiplied by; reads the whole embedding the first time."""
    import numpy as np

    file = files[scaled.magnitude.file]
    with _LOCK:
        if file not in _KNOWN:
            rows, columns = scaled.shape
            read, total = scaled.base.reader(files), np.zeros(columns, np.float64)
            block = np.empty((STEP, columns), np.float32)
            for start in range(0, rows, STEP):
                stop = min(start + STEP, rows)
                part = block[: stop - start]
                read(start, stop, part)
                total += np.einsum("nk,nk->k", part, part, dtype=np.float64)
                scaled.forget(files, start, stop)
            norms = np.sqrt(total).astype(np.float32)
            _KNOWN[file] = _ratio(_lengths(files, scaled.magnitude), norms)
        return _KNOWN[file]


def _lengths(files: Files, magnitude: TensorInfo) -> Floats:
    import numpy as np

    values = np.empty(magnitude.shape, np.float32)
    files[magnitude.file].read(magnitude.name, 0, len(values), values)
    return values


def _ratio(lengths: Floats, norms: Floats) -> Floats:
    """Lengths over norms; a row of zeros has none, and gives what is not a number, as in PEFT."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(lengths / norms, np.float32)
