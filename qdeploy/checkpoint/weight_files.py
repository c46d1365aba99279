"""The files that a checkpoint's weights are in, and the tensors of all of them."""

from __future__ import annotations

from pathlib import Path

from qdeploy.checkpoint.headers import TensorInfo, read_header
from qdeploy.checkpoint.recognize import why_not_a_folder
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

OF_ONE_SAVE = "take the index and the shards from one save of the model"
INDEX = "model.safetensors.index.json"


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
    loose = sorted(p.name for p in folder.glob("model-*-of-*.safetensors"))
    if loose:
        raise CheckpointError(
            f"{len(loose)} shards but no {INDEX}", where=folder, fix="download the index as well"
        )
    raise why_not_a_folder(folder, "*.safetensors")


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
    index = folder / INDEX
    if index.is_file():
        _compare(_weight_map(index), tensors, index)
    return tuple(tensors)


def _compare(weight_map: dict[str, str], tensors: list[TensorInfo], index: Path) -> None:
    held = {(t.name, t.file) for t in tensors}
    listed = set(weight_map.items())
    for name, file in sorted(listed - held):
        raise CheckpointError(f"{file} does not hold tensor {name!r}", where=index)
    for name, file in sorted(held - listed):
        raise CheckpointError(f"tensor {name!r} of {file} is not listed", where=index)
