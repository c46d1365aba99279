"""A file's header describes it as the safetensors library wants it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from qdeploy.checkpoint.headers import DTYPE_BITS
from qdeploy.exporters.native.safetensors import shards
from qdeploy.exporters.native.safetensors.packing import BytesByStaticInputs, Words
from qdeploy.exporters.native.safetensors.shards import Planned, Shard, describe
from qdeploy.planning.tensor_spec import FLOAT, TensorPlan
from qdeploy.quantization.precision import Precision

INT4 = Precision(dtype="int4", group_size=16)


def planned() -> Iterator[Planned]:
    """Weights whose parts have odd numbers of bytes, of elements of every size."""
    for number, (shape, precision) in enumerate(
        [((7,), FLOAT), ((5, 48), INT4), ((3, 3), FLOAT), ((9, 16), Precision(dtype="int8"))]
    ):
        tensor = TensorPlan(f"layers.{number}.weight", shape, "linear", precision, 0)
        yield describe(tensor, Words("bfloat16"))


def test_tensors_follow_one_another_at_multiples_of_their_elements() -> None:
    shard = Shard(list(planned()), {})
    (start, header), *constants = shard.inlined
    assert start == 0
    length = int.from_bytes(header[:8], "little")
    assert len(header) == 8 + length
    assert length % 8 == 0
    about = json.loads(header[8:])
    assert about.pop("__metadata__") == {"format": "pt"}
    entries = sorted(about.values(), key=lambda entry: entry["data_offsets"])
    for entry in entries:
        first, last = entry["data_offsets"]
        assert first % (DTYPE_BITS[entry["dtype"]] // 8) == 0
        assert last > first
    assert all(a["data_offsets"][1] == b["data_offsets"][0] for a, b in pairwise(entries))
    assert entries[0]["data_offsets"][0] == 0
    assert entries[-1]["data_offsets"][1] == shard.tensor_bytes == shard.size - len(header)
    assert set(shard.names) == set(about)
    assert [content for _, content in constants] == [
        (5).to_bytes(8, "little") + (48).to_bytes(8, "little"),
        (9).to_bytes(8, "little") + (16).to_bytes(8, "little"),
    ]
    assert sum(weight.nbytes for weight in shard.weights) + 32 == shard.tensor_bytes


def test_a_scale_of_inputs_is_a_tensor_of_its_own() -> None:
    """float32 [1], as vLLM's parameter is."""
    bytes_ = Precision(dtype="int8", symmetric=True)
    tensors = [TensorPlan(f"{name}.weight", (3, 8), "linear", bytes_, 0) for name in "ab"]
    planned = [describe(tensor, BytesByStaticInputs("float32")) for tensor in tensors]
    shard = Shard(planned, {"a.weight": 0.5, "b.weight": 0.25})
    (_, header), *constants = shard.inlined
    about = json.loads(header[8:])
    assert [content for _, content in constants] == [struct.pack("<f", n) for n in (0.5, 0.25)]
    for (offset, _), name in zip(constants, "ab", strict=True):
        entry = about[f"{name}.input_scale"]
        assert (entry["dtype"], entry["shape"]) == ("F32", [1])
        assert entry["data_offsets"] == [offset - len(header), offset - len(header) + 4]


@pytest.mark.parametrize(("most", "counts"), [(10**9, [4]), (208, [2, 2]), (1, [1, 1, 1, 1])])
def test_a_weight_is_in_one_file(
    most: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", most)
    files = shards.shards(planned(), {})
    assert [len(shard.weights) for shard in files.values()] == counts
    if len(counts) > 1:
        of = f"of-{len(counts):05}.safetensors"
        assert list(files) == [f"model-{n:05}-{of}" for n in range(1, len(counts) + 1)]
        index = shards.index(files)
        assert set(index["weight_map"].values()) == set(files)
    else:
        assert list(files) == ["model.safetensors"]
