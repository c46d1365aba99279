"""The layout of a model's safetensors files, computed before a weight is read.

A file is the length of its header as 8 bytes, the header, and the tensors (the format's README at
https://github.com/huggingface/safetensors). The library refuses a file in which tensors overlap or
leave bytes between them. Elements should lie at multiples of their size, so tensors are in the
order of the sizes of their elements, the largest first, as the library itself writes them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from qdeploy.checkpoint.weight_files import SINGLE
from qdeploy.exporters.native.safetensors.packing import FLOAT_DTYPES, Entries, Entry, Stored
from qdeploy.exporters.native.weights_file.layout import PackedWeight, Span
from qdeploy.planning.tensor_spec import TensorPlan

SHARD_BYTES = 5 * 10**9
"""Bytes of tensors in a file, as transformers 4 and the hub's checkpoints have them; a larger
tensor has a file of its own."""
LENGTH_BYTES = 8
"""Of the header's length, and what the header is padded to, so that tensors begin there."""


class Planned(NamedTuple):
    """A weight, how it is stored, and the tensors that it becomes."""

    tensor: TensorPlan
    encoding: Stored
    entries: Entries
    shape: Entry | None = None
    input_scale: Entry | None = None

    @property
    def every(self) -> list[Entry]:
        """All of its tensors."""
        return [entry for entry in (*self.entries, self.shape, self.input_scale) if entry]

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entry in self.every)

    def name(self, entry: Entry) -> str:
        """The whole name of one of its tensors."""
        module, dot, _ = self.tensor.name.rpartition(".")
        return f"{module}{dot}{entry.name}"


def describe(tensor: TensorPlan, encoding: Stored) -> Planned:
    """The tensors that a weight becomes."""
    if tensor.precision.dtype == "fp16":
        dtype = FLOAT_DTYPES[encoding.float_type(len(tensor.shape))]
        whole = Entry(tensor.name.rpartition(".")[2], dtype, tensor.shape)
        return Planned(tensor, encoding, Entries(whole))
    rows, columns = tensor.shape
    entries = encoding.entries(tensor.precision, rows, columns, tensor.scales)
    shape = Entry("weight_shape", "I64", (len(tensor.shape),)) if encoding.says_shape else None
    input_scale = Entry("input_scale", "F32", (1,)) if encoding.says_input_scale else None
    return Planned(tensor, encoding, entries, shape, input_scale)


class Shard:
    """The layout of one file: see `FileLayout`.

    Args:
        planned: its weights.
        input_scales: the scales of layers' inputs that are stored, by the weight's name.
    """

    def __init__(self, planned: Sequence[Planned], input_scales: Mapping[str, float]) -> None:
        every = [(p.name(entry), entry) for p in planned for entry in p.every]
        places, end = dict[str, Span](), 0
        for name, entry in sorted(every, key=lambda found: -found[1].itemsize):
            places[name] = Span(end, entry.nbytes)
            end += entry.nbytes
        header = _header({name: (entry, places[name]) for name, entry in every})
        self.names = list(places)
        self.tensor_bytes = end
        self.size = len(header) + end
        self._places = {n: Span(len(header) + s.offset, s.size) for n, s in places.items()}
        self.weights = [self._packed(p) for p in planned]
        self.inlined = [(0, header), *self._constants(planned, input_scales)]

    def _packed(self, planned: Planned) -> PackedWeight:
        tensor, entries = planned.tensor, planned.entries
        scales, points = (self._places[planned.name(e)] if e else None for e in entries[1:])
        return PackedWeight(
            (tensor.source,), (tensor.shape,), tensor.precision, planned.encoding,
            self._places[planned.name(entries.codes)], scales, points,
            given=(tensor.takes_codes,), scale_type=tensor.scales,
        )  # fmt: skip

    def _constants(
        self, planned: Iterable[Planned], input_scales: Mapping[str, float]
    ) -> Iterator[tuple[int, bytes]]:
        """Offset and content of each tensor that is no part of a weight's rows."""
        for p in planned:
            if p.shape:
                shape = p.tensor.shape
                yield self._offset(p, p.shape), struct.pack(f"<{len(shape)}q", *shape)
            if p.input_scale:
                scale = input_scales[p.tensor.name]
                yield self._offset(p, p.input_scale), struct.pack("<f", scale)

    def _offset(self, planned: Planned, entry: Entry) -> int:
        return self._places[planned.name(entry)].offset


def _header(tensors: Mapping[str, tuple[Entry, Span]]) -> bytes:
    """The header with its length, padded with spaces to a multiple of `LENGTH_BYTES`."""
    about: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, (entry, span) in tensors.items():
        offsets = [span.offset, span.offset + span.size]
        about[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": offsets}
    text = json.dumps(about, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def shards(planned: Iterable[Planned], input_scales: Mapping[str, float]) -> dict[str, Shard]:
    """The files by their names, as transformers names them: each weight is in one of them.

    *input_scales*: see `Shard`.
    """
    parts, room = list[list[Planned]](), 0
    for weight in planned:
        if not parts or weight.nbytes > room:
            parts.append([])
            room = SHARD_BYTES
        parts[-1].append(weight)
        room -= weight.nbytes
    if len(parts) == 1:
        return {SINGLE: Shard(parts[0], input_scales)}
    of = len(parts)
    return {
        f"model-{n:05}-of-{of:05}.safetensors": Shard(part, input_scales)
        for n, part in enumerate(parts, 1)
    }


def index(files: Mapping[str, Shard]) -> dict[str, Any]:
    """The content of the index, which says which file each tensor is in."""
    return {
        "metadata": {"total_size": sum(shard.tensor_bytes for shard in files.values())},
        "weight_map": {name: file for file, shard in files.items() for name in shard.names},
    }
