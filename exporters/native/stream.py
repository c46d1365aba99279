"""Weights from the checkpoint into their places in a file: read, quantize, write, forget.

A weight goes through in blocks of rows, so memory is a few blocks whatever the model's size. Blocks
are quantized on several threads and written by one, in the order of the file; an interrupted run
goes on after the last block that its journal knows to be on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qdeploy.errors import CheckpointError
from qdeploy.exporters.native.blob import Blob, Span, Stored, packed_bytes
from qdeploy.exporters.native.journal import Journal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qdeploy.weights import Source

BLOCK_ELEMENTS = 2**22
"""Elements of a block: 16 MiB as float32. Smaller ones pay for Python, larger ones for memory."""
MOST_THREADS = 8
"""More of them would wait for the disk, and each takes memory for a block."""
SAFE_AFTER_BYTES = 256 * 2**20
"""Bytes after which the file is flushed to the disk and the journal written."""


@dataclass(frozen=True)
class Block:
    """Rows *start* to *stop* of one tensor of a stored weight.

    Attributes:
        member: which of the weight's tensors.
    """

    stored: Stored
    member: int
    start: int
    stop: int

    @property
    def tensor(self) -> str:
        return self.stored.tensors[self.member]


Piece = tuple[int, "NDArray[np.generic]"]
"""Bytes of the file: their offset, and an array that holds them."""


def threads() -> int:
    """Threads that quantize."""
    from qdeploy.exporters.quantize import cores

    return min(cores(), MOST_THREADS)


def blocks(blob: Blob, elements: int = BLOCK_ELEMENTS) -> list[Block]:
    """Every weight cut into blocks of about so many elements, in the order of the file."""
    found = []
    for stored in blob.weights:
        rows, columns = stored.shape[0], prod(stored.shape[1:])
        # an even number, so that four-bit codes of a block end with a byte
        step = max(2, elements // columns // 2 * 2)
        found += [
            Block(stored, member, start, min(start + step, rows))
            for member in range(len(stored.tensors))
            for start in range(0, rows, step)
        ]
    return found


def write(
    blob: Blob,
    source: Source,
    file: Path,
    journal: Journal,
    report: Callable[[int], None],
) -> None:
    """Write the whole of *blob* to *file*, or what the journal says is still missing.

    *report* is called with the bytes of it that are written so far.

    Raises:
        CheckpointError, ExportFailed: a weight that its precision cannot hold, by its name.
        OSError: the disk is full, among others.
    """
    from qdeploy.exporters.quantize import in_order

    every = blocks(blob)
    done = journal.done() if file.is_file() else 0
    file.touch()
    with file.open("r+b") as out:
        out.truncate(blob.size)
        for offset, content in blob.inlined:
            out.seek(offset)
            out.write(content)
        unsafe = 0
        made = in_order(partial(_pieces, source), every[done:], threads=threads())
        for count, pieces in enumerate(made, start=done + 1):
            for offset, data in pieces:
                out.seek(offset)
                out.write(data.data)
                unsafe += data.nbytes
            if unsafe >= SAFE_AFTER_BYTES:
                _flush(out)
                journal.record(count)
                unsafe = 0
            report(pieces[0][0])
        _flush(out)
        journal.record(len(every))
    report(blob.size)


def _flush(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


def _pieces(source: Source, block: Block) -> list[Piece]:
    """Read a block, quantize it, and say where its bytes go."""
    from qdeploy.exporters.quantize import quantize

    stored, precision = block.stored, block.stored.precision
    values = source.rows(block.tensor, block.start, block.stop)
    row = block.member * stored.shape[0] + block.start
    width = prod(stored.shape[1:])
    if precision.dtype == "fp16":
        return [(stored.codes.offset + 2 * row * width, _halves(values, block.tensor))]
    quantized = quantize(values, precision, where=block.tensor)
    before = row * stored.groups
    pieces = [_piece(stored.codes, row * width, quantized.codes, precision.bits)]
    if stored.scales:
        pieces.append((stored.scales.offset + 2 * before, quantized.scales))
    if stored.zero_points and quantized.zero_points is not None:
        pieces.append(_piece(stored.zero_points, before, quantized.zero_points, precision.bits))
    return pieces


def _halves(values: NDArray[np.float32], tensor: str) -> NDArray[np.float16]:
    import numpy as np

    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise CheckpointError("a weight is too large for fp16", where=tensor)
    return halves


def _piece(span: Span, before: int, codes: NDArray[np.generic], bits: int) -> Piece:
    """Codes behind the *before* that come first in their span."""
    from qdeploy.exporters.quantize import pack4

    return span.offset + packed_bytes(before, bits), pack4(codes) if bits == 4 else codes
