"""`Block`: the rows of a weight that are read, quantized and written together."""

from __future__ import annotations

from dataclasses import dataclass

from qdeploy.exporters.native.weights_file.layout import FileLayout, PackedWeight

BLOCK_ELEMENTS = 2**22
"""Elements of a block: 16 MiB as float32. Smaller blocks cost Python time, larger ones memory."""


@dataclass(frozen=True)
class Block:
    """Rows *start* to *stop* of one tensor of a stored weight, or of several that are interleaved.

    Attributes:
        member: index of the tensor in the weight; of the first one where several alternate.
    """

    stored: PackedWeight
    member: int
    start: int
    stop: int

    @property
    def tensors(self) -> tuple[str, ...]:
        return self.stored.tensors[self.member : self.member + self.stored.interleaved]

    @property
    def given(self) -> bool:
        """Whether codes of one of its tensors are taken as they are."""
        given = self.stored.given
        return any(given[self.member : self.member + self.stored.interleaved])

    @property
    def elements(self) -> int:
        return (self.stop - self.start) * self.stored.columns * len(self.tensors)

    @property
    def nbytes(self) -> int:
        """Its part of the weight's bytes, to the nearest below."""
        return self.stored.nbytes * self.elements // (self.stored.columns * self.stored.rows)

    @property
    def row(self) -> int:
        """The first row in the file."""
        return self.stored.first_rows[self.member] + self.stored.interleaved * self.start


def blocks(layout: FileLayout, elements: int = BLOCK_ELEMENTS) -> list[Block]:
    """Every weight cut into blocks of about so many elements, in the order of the file."""
    found = []
    for stored in layout.weights:
        together = stored.encoding.step
        rows = elements // (stored.columns * stored.interleaved)
        step = max(together, rows // together * together)
        found += [
            Block(stored, member, start, min(start + step, stored.shapes[member][0]))
            for member in range(0, len(stored.tensors), stored.interleaved)
            for start in range(0, stored.shapes[member][0], step)
        ]
    return found
