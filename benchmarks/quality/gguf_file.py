"""Reads a GGUF file: its metadata, and tensors of the types F32, F16, Q8_0 and Q4_1 as float32.

Layout: `docs/gguf.md` of ggml, versions 2 and 3, little-endian. Blocks: `ggml-common.h` of
llama.cpp, 32 weights each:

    Q8_0   float16 d, int8 q[32]               w = d * q
    Q4_1   float16 d, float16 m, uint8 q[16]   w = d * q + m; byte i has weights i and i + 16
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""`struct`'s letters of the types of metadata."""
BLOCK = 32


def _q8_0(blocks: Bytes) -> Floats:
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return scale * blocks[:, 2:].view(np.int8).astype(np.float32)


def _q4_1(blocks: Bytes) -> Floats:
    scale, least = (blocks[:, i : i + 2].copy().view("<f2").astype(np.float32) for i in (0, 2))
    pairs = blocks[:, 4:]
    codes = np.concatenate([pairs & 15, pairs >> 4], axis=1)
    return scale * codes.astype(np.float32) + least


class Kind(NamedTuple):
    """A type of stored weights: bytes and weights of a block, and how blocks become floats."""

    nbytes: int
    weights: int
    decode: Callable[[Bytes], Floats]


KINDS: Mapping[int, Kind] = {
    0: Kind(4, 1, lambda raw: raw.view("<f4").astype(np.float32)),
    1: Kind(2, 1, lambda raw: raw.view("<f2").astype(np.float32)),
    3: Kind(20, BLOCK, _q4_1),
    8: Kind(34, BLOCK, _q8_0),
}


class Place(NamedTuple):
    """Where a tensor lies: its shape, its type's number, and its first byte in the file."""

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class GgufFile:
    """The content of a file, which is read when it is asked for."""

    metadata: Mapping[str, Any]
    places: Mapping[str, Place]
    content: Bytes

    def tensor(self, name: str) -> Floats:
        """A tensor as float32, rows first.

        Raises:
            KeyError: the file has no such tensor.
            ValueError: it is of a type that is not known here.
        """
        place = self.places[name]
        if place.kind not in KINDS:
            raise ValueError(f"{name} is of GGUF's type {place.kind}")
        kind = KINDS[place.kind]
        blocks = math.prod(place.shape) // kind.weights
        raw = self.content[place.start : place.start + blocks * kind.nbytes]
        return kind.decode(raw.reshape(blocks, kind.nbytes)).reshape(place.shape)


def open_gguf(path: Path) -> GgufFile:
    """Read the header of a file.

    Raises:
        ValueError: it is not a GGUF file of version 2 or 3.
    """
    content = np.memmap(path, np.uint8, mode="r")
    reader = _Reader(content)
    if reader.bytes(4) != MAGIC or reader.scalar("I") not in (2, 3):
        raise ValueError(f"{path} is not a GGUF file of version 2 or 3")
    tensors, entries = reader.scalar("Q"), reader.scalar("Q")
    metadata = {reader.string(): reader.value(reader.scalar("I")) for _ in range(entries)}
    headers = {}
    for _ in range(tensors):
        name, rank = reader.string(), reader.scalar("I")
        shape = tuple(reversed([int(reader.scalar("Q")) for _ in range(rank)]))
        headers[name] = Place(shape, reader.scalar("I"), reader.scalar("Q"))
    alignment = metadata.get("general.alignment", 32)
    base = -(-reader.at // alignment) * alignment
    places = {name: place._replace(start=base + place.start) for name, place in headers.items()}
    return GgufFile(metadata, places, content)


class _Reader:
    def __init__(self, content: Bytes) -> None:
        self._content, self.at = content, 0

    def bytes(self, count: int) -> bytes:
        found = self._content[self.at : self.at + count].tobytes()
        self.at += count
        return found

    def scalar(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self.bytes(struct.calcsize(f"<{letter}")))[0]

    def string(self) -> str:
        return self.bytes(self.scalar("Q")).decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.scalar("I"), self.scalar("Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(SCALARS[kind])
