"""Whether two weights hold the same values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from qdeploy.checkpoint.sources.base import Source

ELEMENTS = 2**20
"""Values that are compared at a time."""


def equal(one: Source, other: Source, place: Callable[[str], Path]) -> bool:
    """Whether two weights are equal, value by value. *place*: of a file by `TensorInfo.file`.

    Raises:
        CheckpointError: a file cannot be read.
    """
    import numpy as np

    from qdeploy.checkpoint.sources.safetensors import TensorFile

    if one.shape != other.shape or one.why_not() or other.why_not():
        return False
    names = sorted({t.file for t in (*one.tensors, *other.tensors)})
    with ExitStack() as opened:
        files = {n: opened.enter_context(closing(TensorFile(place(n)))) for n in names}
        readers = [source.reader(files) for source in (one, other)]
        rows, *rest = one.shape
        step = max(1, ELEMENTS // max(1, *rest)) if rest else ELEMENTS
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            values, others = (np.empty((stop - start, *rest), np.float32) for _ in readers)
            for read, block in zip(readers, (values, others), strict=True):
                read(start, stop, block)
            if not np.array_equal(values, others):
                return False
            for source in (one, other):
                source.forget(files, start, stop)
    return True
