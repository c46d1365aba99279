"""The tensors of a checkpoint, read from safetensors headers without reading weights.

The `safetensors` library validates each header against the length of the file. This module adds the
file and tensor names to its errors, and checks the index of a sharded checkpoint.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from qdeploy.checkpoint.damage import why_missing, why_unreadable
from qdeploy.checkpoint.recognize import why_not_a_folder
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

OF_ONE_SAVE = "take the index and the shards from one save of the model"
SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
INDEX = "model.safetensors.index.json"

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a checkpoint: name, shape, safetensors dtype and file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * DTYPE_BITS[self.dtype] // 8


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files of the checkpoint in *folder*, in order.

    Raises:
        CheckpointError: there are no weights, or of another kind, or the index is invalid.
    """
    index = folder / INDEX
    if index.is_file():
        return sorted(set(_weight_map(index).values()))
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    if loose := sorted(p.name for p in folder.glob("model-*-of-*.safetensors")):
        return _all_shards(folder, loose)
    raise why_not_a_folder(folder, "*.safetensors")


def _all_shards(folder: Path, loose: list[str]) -> list[str]:
    """The shards of a checkpoint without an index, which their numbers show to be whole.

    Raises:
        CheckpointError: one is missing, or one is of another checkpoint.
    """
    match = SHARD.fullmatch(loose[-1])
    count = int(match[1]) if match else 0
    every = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    if odd := sorted(set(every) ^ set(loose)):
        what, do = ("odd", "remove") if odd[0] in loose else ("missing", "add")
        raise CheckpointError(
            f"{len(loose)} shards but no {INDEX}, and {odd[0]} is {what}",
            where=folder,
            fix=f"{do} {odd[0]}, or add the index",
        )
    return loose


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("no 'weight_map' object", where=index, fix=OF_ONE_SAVE)
    for tensor, file in weight_map.items():
        plain = isinstance(file, str) and Path(file).name == file
        if not plain or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"tensor {tensor!r} points to {file!r}, not to a .safetensors file of this folder",
                where=index,
                fix=OF_ONE_SAVE,
            )
    return weight_map


def read_tensors(folder: Path) -> tuple[TensorInfo, ...]:
    """All tensors of the checkpoint in *folder*, by file and then by name.

    Raises:
        CheckpointError: a shard is missing, a header is invalid, or index and shards disagree.
    """
    files = weight_files(folder)
    tensors: list[TensorInfo] = []
    for file in files:
        tensors += read_header(folder / file)
    _check_once(tensors, folder)
    index = folder / INDEX
    if index.is_file():
        _compare(_weight_map(index), tensors, index)
    return tuple(tensors)


def read_header(path: Path) -> list[TensorInfo]:
    """The tensors of one file, by name.

    Raises:
        CheckpointError: it is missing, or not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            found = [
                TensorInfo(name, tuple(s.get_shape()), s.get_dtype(), path.name)
                for name, s in slices.items()
            ]
    except FileNotFoundError:  # raised by the library for any file that it cannot open
        if os.path.exists(path):
            raise CheckpointError(
                "weight file cannot be read", where=path, fix="give yourself permission to read it"
            ) from None
        raise why_missing(path) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise why_unreadable(path, error) from None
    for tensor in found:
        if tensor.dtype not in DTYPE_BITS:
            raise CheckpointError(
                f"tensor {tensor.name!r} has the unknown dtype {tensor.dtype}",
                where=path,
                fix="save the weights as bfloat16, float16 or float32",
            )
    return found


def _check_once(tensors: list[TensorInfo], folder: Path) -> None:
    files: dict[str, str] = {}
    for tensor in tensors:
        other = files.setdefault(tensor.name, tensor.file)
        if other != tensor.file:
            raise CheckpointError(
                f"both {other} and {tensor.file} hold tensor {tensor.name!r}",
                where=folder,
                fix=OF_ONE_SAVE,
            )


def _compare(weight_map: dict[str, str], tensors: list[TensorInfo], index: Path) -> None:
    held = {(t.name, t.file) for t in tensors}
    listed = set(weight_map.items())
    for name, file in sorted(listed - held):
        what = f"{file} does not hold tensor {name!r}"
        raise CheckpointError(what, where=index, fix=OF_ONE_SAVE)
    for name, file in sorted(held - listed):
        what = f"tensor {name!r} of {file} is not listed"
        raise CheckpointError(what, where=index, fix=OF_ONE_SAVE)
