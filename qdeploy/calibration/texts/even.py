"""Even choices: items that are spread over all of them, however many are taken or come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


def even_order(count: int, seed: int = 0) -> Iterator[int]:
    """Yield every number below *count* once; those of any beginning are spread evenly.

    It is the order of van der Corput: bits are counted up in reverse, so that each number halves
    one of the widest gaps. *seed* decides which number comes first: all are shifted, modulo
    *count*.
    """
    if count < 1:
        return
    bits = (count - 1).bit_length()
    shift = int(np.random.Generator(np.random.PCG64(seed)).integers(count))
    for number in range(2**bits):
        place = int(f"{number:0{bits}b}"[::-1], 2)
        if place < count:
            yield (place + shift) % count


class EvenSample(Generic[T]):
    """Items of a stream of unknown length, at equal distances, in bounded memory.

    Attributes:
        items: what is kept, in the order of the stream.
    """

    def __init__(self, most_bytes: int) -> None:
        """*most_bytes*: of the items that are kept; one item is kept whatever its size."""
        self.items: list[T] = []
        self._sizes: list[int] = []
        self._most, self._held = most_bytes, 0
        self._stride, self._seen = 1, 0

    def add(self, item: T, size: int) -> None:
        """Add the next item of *size* bytes.

        When they take too much, every second item is dropped, now and from here on.
        """
        if self._seen % self._stride == 0:
            self.items.append(item)
            self._sizes.append(size)
            self._held += size
        self._seen += 1
        while self._held > self._most and len(self.items) > 1:
            self.items, self._sizes = self.items[::2], self._sizes[::2]
            self._held = sum(self._sizes)
            self._stride *= 2
