"""Weights from the checkpoint into their places in a file: read, quantize, write, forget.

A weight goes through in blocks of rows, so memory is a few blocks whatever the model's size. Blocks
are quantized on several threads and written by one, in the order of the file; an interrupted run
goes on after the last block that its journal knows to be on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING

from qdeploy.errors import CheckpointError
from qdeploy.exporters.native.weights_file.flusher import Flusher
from qdeploy.exporters.native.weights_file.journal import Journal
from qdeploy.exporters.native.weights_file.layout import PackedWeight, WeightsLayout
from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.system.threads import usable_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.checkpoint.weights import WeightReader

BLOCK_ELEMENTS = 2**22
"""Elements of a block: 16 MiB as float32. Smaller ones pay for Python, larger ones for memory."""
MOST_THREADS = 8
"""More of them would wait for the disk, and each takes memory for a block."""
SAFE_AFTER_BYTES = 256 * 2**20
"""Bytes after which the file is flushed to the disk and the journal written."""


@dataclass(frozen=True)
class Block:
    """Rows *start* to *stop* of one tensor of a stored weight, or of several that are woven.

    Attributes:
        member: which of the weight's tensors; the first, where several are woven.
    """

    stored: PackedWeight
    member: int
    start: int
    stop: int

    @property
    def tensors(self) -> tuple[str, ...]:
        return self.stored.tensors[self.member : self.member + self.stored.woven]

    @property
    def elements(self) -> int:
        return (self.stop - self.start) * self.stored.columns * len(self.tensors)

    @property
    def row(self) -> int:
        """The first row in the file."""
        return self.stored.first_rows[self.member] + self.stored.woven * self.start


Piece = tuple[int, "NDArray[np.generic]"]
"""Bytes of the file: their offset, and an array that holds them."""


def threads() -> int:
    """Threads that quantize."""
    return min(usable_threads(), MOST_THREADS)


def blocks(blob: WeightsLayout, elements: int = BLOCK_ELEMENTS) -> list[Block]:
    """Every weight cut into blocks of about so many elements, in the order of the file."""
    found = []
    for stored in blob.weights:
        # an even number, so that four-bit codes of a block end with a byte
        step = max(2, elements // (stored.columns * stored.woven) // 2 * 2)
        found += [
            Block(stored, member, start, min(start + step, stored.shapes[member][0]))
            for member in range(0, len(stored.tensors), stored.woven)
            for start in range(0, stored.shapes[member][0], step)
        ]
    return found


def write(
    blob: WeightsLayout,
    source: WeightReader,
    file: Path,
    journal: Journal,
    report: Callable[[int], None],
) -> None:
    """Write the whole of *blob* to *file*, or what the journal says is still missing.

    *report* is called with the bytes of it that are written so far.

    Raises:
        CheckpointError: a weight that its precision cannot hold, by its name.
        OSError: the disk is full, among others.
    """
    from qdeploy.exporters.quantize import in_order

    every = blocks(blob)
    done = journal.done() if file.is_file() else 0
    file.touch()
    with file.open("r+b") as out, Flusher(out, journal) as flusher:
        out.truncate(blob.size)
        for offset, content in blob.inlined:
            out.seek(offset)
            out.write(content)
        unsafe = 0
        work = partial(_pieces, blob.encoding, source)
        # closed here and now, so that no thread reads the source any more when this has failed
        with closing(in_order(work, every[done:], threads=threads())) as made:
            for count, pieces in enumerate(made, start=done + 1):
                for offset, data in pieces:
                    out.seek(offset)
                    out.write(data.data)
                    unsafe += data.nbytes
                if unsafe >= SAFE_AFTER_BYTES:
                    flusher.begin(count)
                    unsafe = 0
                report(pieces[0][0])
        flusher.begin(len(every))
    report(blob.size)


def _pieces(encoding: Encoding, source: WeightReader, block: Block) -> list[Piece]:
    """Read a block, quantize it, and say where its bytes go."""
    import numpy as np

    from qdeploy.exporters.quantize import quantize

    stored, precision, name = block.stored, block.stored.precision, block.tensors[0]
    if precision.dtype == "fp16":
        values = _read(source, block, np.empty(block.elements, np.float32))
        floats = _floats(values, encoding.float_type(len(stored.shape)), name)
        before = block.row * stored.columns * floats.itemsize
        return [(stored.codes.offset + before, floats)]
    values = _read(source, block, _scratch.floats(block.elements))
    parts = encoding.encode(quantize(values, precision, where=name))
    sizes = encoding.sizes(precision, block.row, stored.columns)
    spans = (stored.codes, stored.scales, stored.zero_points)
    return [
        (span.offset + size, part)
        for span, size, part in zip(spans, sizes, parts, strict=True)
        if span is not None and part is not None
    ]


def _read(source: WeightReader, block: Block, into: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of a block, float32 [rows, ...], in *into*, which is flat and holds just them."""
    rows, woven = block.stop - block.start, len(block.tensors)
    values = into.reshape(rows, woven, *block.stored.shape[1:])
    for strand, name in enumerate(block.tensors):
        source.rows(name, block.start, block.stop, out=values[:, strand])
    return values.reshape(rows * woven, *block.stored.shape[1:])


class _Scratch(local):
    """A buffer for each thread: fresh memory for every block would have to be cleared first."""

    def __init__(self) -> None:
        self._buffer: NDArray[np.float32] | None = None

    def floats(self, count: int) -> NDArray[np.float32]:
        """So many float32, whatever they hold; they are the thread's until it asks again."""
        import numpy as np

        if self._buffer is None or self._buffer.size < count:
            self._buffer = np.empty(count, np.float32)
        return self._buffer[:count]


_scratch = _Scratch()


def _floats(values: NDArray[np.float32], dtype: str, tensor: str) -> NDArray[np.generic]:
    import numpy as np

    if dtype == "float32":
        return values
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise CheckpointError("a weight is too large for fp16", where=tensor)
    return halves
