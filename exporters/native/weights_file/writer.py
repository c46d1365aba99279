"""Streams weights from the checkpoint to their offsets in a file: read, quantize, write.

Weights are processed in blocks of rows, so memory is a few blocks for a model of any size. Several
threads quantize; one thread writes, in the order of the file. A later run of an interrupted export
continues after the last block that the journal records as flushed to the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING

from qdeploy.errors import CheckpointError
from qdeploy.exporters.native.weights_file import floats
from qdeploy.exporters.native.weights_file.block import Block, blocks
from qdeploy.exporters.native.weights_file.flusher import Flusher
from qdeploy.exporters.native.weights_file.journal import Journal
from qdeploy.exporters.native.weights_file.keep import keep
from qdeploy.exporters.native.weights_file.layout import FileLayout
from qdeploy.system.threads import usable_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.weights import WeightReader

MOST_THREADS = 8
"""More threads would wait for the disk, and each holds the memory of a block."""
SAFE_AFTER_BYTES = 256 * 2**20
"""Bytes after which the file is flushed to the disk and the journal written."""


Piece = tuple[int, "NDArray[np.generic]"]
"""Offset in the file, and the array to write there."""


def threads() -> int:
    """Threads that quantize."""
    return min(usable_threads(), MOST_THREADS)


def write(
    layout: FileLayout,
    source: WeightReader,
    file: Path,
    journal: Journal,
    report: Callable[[int], None],
) -> None:
    """Write *layout* to *file*, from the first block that the journal does not record.

    *report* is called with the bytes of it that are written so far.

    Raises:
        CheckpointError: a weight that its precision cannot hold, by its name.
        OSError: the disk is full, among others.
    """
    from qdeploy.system.in_order import in_order

    every = blocks(layout)
    done = journal.done() if file.is_file() else 0
    file.touch()
    with file.open("r+b") as out, Flusher(out, journal) as flusher:
        out.truncate(layout.size)
        for offset, content in layout.inlined:
            out.seek(offset)
            out.write(content)
        unsafe = 0
        written = sum(block.nbytes for block in every[:done])
        work = partial(_pieces, source)
        # closed in any case, so that no thread reads the source after a failure
        with closing(in_order(work, every[done:], threads=threads())) as made:
            for count, pieces in enumerate(made, start=done + 1):
                for offset, data in pieces:
                    out.seek(offset)
                    out.write(data.data)
                    unsafe += data.nbytes
                if unsafe >= SAFE_AFTER_BYTES:
                    flusher.begin(count)
                    unsafe = 0
                written += every[count - 1].nbytes
                report(written)
        flusher.begin(len(every))
    report(layout.size)


def _pieces(source: WeightReader, block: Block) -> list[Piece]:
    """Read and quantize a block; returns what to write and where."""
    import numpy as np

    from qdeploy.quantization.matrix import quantize

    stored, precision, name = block.stored, block.stored.precision, block.tensors[0]
    encoding = stored.encoding
    if precision.dtype == "fp16":
        values = _read(source, block, np.empty(block.elements, np.float32))
        narrow = floats.narrow(values, encoding.float_type(len(stored.shape)), name)
        before = block.row * stored.columns * narrow.itemsize
        return [(stored.codes.offset + before, narrow)]
    if block.given:
        made = keep(source, block)
    else:
        values = _read(source, block, _scratch.floats(block.elements))
        made = quantize(values, precision, where=name)
    try:
        parts = encoding.encode(made, stored.scale_type)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=name, fix=error.fix) from None
    sizes = encoding.sizes(precision, block.row, stored.columns, stored.scale_type)
    return [
        (span.offset + size, part)
        for span, size, part in zip(stored.spans, sizes, parts, strict=True)
        if span is not None and part is not None
    ]


def _read(source: WeightReader, block: Block, into: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read the rows of a block, float32 [rows, ...], into the flat array *into* of that size."""
    rows, interleaved = block.stop - block.start, len(block.tensors)
    values = into.reshape(rows, interleaved, *block.stored.shape[1:])
    for position, name in enumerate(block.tensors):
        source.rows(name, block.start, block.stop, out=values[:, position])
    return values.reshape(rows * interleaved, *block.stored.shape[1:])


class _Scratch(local):
    """One reused buffer for each thread: clearing newly allocated memory costs time."""

    def __init__(self) -> None:
        self._buffer: NDArray[np.float32] | None = None

    def floats(self, count: int) -> NDArray[np.float32]:
        """An uninitialized array of *count* float32, valid until the thread's next call."""
        import numpy as np

        if self._buffer is None or self._buffer.size < count:
            self._buffer = np.empty(count, np.float32)
        return self._buffer[:count]


_scratch = _Scratch()
