"""The files that a checkpoint's weights are in, and the tensors of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from qdeploy.checkpoint.headers import TensorInfo, read_header
from qdeploy.checkpoint.recognition.recognize import why_not_a_folder
from qdeploy.checkpoint.sources.same import same_values
from qdeploy.errors import CheckpointError
from qdeploy.storage.json_file import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""Names that transformers looks for: one file of all weights, and the index of shards."""
SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
OF_ONE_SAVE = "take the index and the shards from one save of the model"


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files of the checkpoint in *folder*, in order.

    As in transformers, one file of all weights precedes shards. Shards without an index are read
    where all of them are there.

    Raises:
        CheckpointError: there are no weights, or of another kind, or the index is invalid.
    """
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if (folder / INDEX).is_file():
        return sorted(set(_weight_map(folder / INDEX).values()))
    if shards := _numbered(folder):
        return shards
    raise why_not_a_folder(folder, "*.safetensors")


def file_warnings(folder: Path, tensors: Sequence[TensorInfo]) -> tuple[str, ...]:
    """What was decided between the weight files in *folder*; *tensors* are those that are read."""
    index = (folder / INDEX).is_file()
    if not (folder / SINGLE).is_file():
        read = f"there is no {INDEX}: the shards are read, of which none is missing"
        return () if index else (read,)
    try:
        files = set(_weight_map(folder / INDEX).values()) if index else set(_numbered(folder))
        if files <= {SINGLE} or _same_model(folder, tensors, sorted(files)):
            return ()
    except CheckpointError:  # it is not read
        pass
    kept = f"{SINGLE} and shards are there and differ: {SINGLE} is read, as in transformers; remove"
    return (f"{kept} what is out of date",)


def check_named_file(named: object, folder: Path) -> None:
    """Check that the files that are read are those that config.json names, if it names any.

    *named* is its `transformers_weights`, which transformers reads before the usual names.

    Raises:
        CheckpointError: it names others.
    """
    if named is None or named == INDEX or [named] == weight_files(folder):
        return
    raise CheckpointError(
        f"config.json names the weights {named!r} (transformers_weights), not the usual files",
        where=folder,
        fix=f"rename the file that counts to {SINGLE}, and remove transformers_weights",
    )


def _numbered(folder: Path) -> list[str]:
    """The shards of a checkpoint without an index, which their numbers show to be whole.

    Raises:
        CheckpointError: one is missing, or one is of another checkpoint.
    """
    loose = sorted(p.name for p in folder.glob("model-*-of-*.safetensors"))
    match = SHARD.fullmatch(loose[-1]) if loose else None
    if loose and not match:
        raise CheckpointError(
            f"no {INDEX}, and {loose[-1]} is not named as shards are",
            where=folder,
            fix=f"add the index; or, if it holds all weights, rename it to {SINGLE}",
        )
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


def _same_model(folder: Path, tensors: Sequence[TensorInfo], files: Iterable[str]) -> bool:
    """Whether *files* hold the same tensors by name, shape and their first and last values.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    own = {t.name: t for t in tensors}
    others = {t.name: t for file in files for t in read_header(folder / file)}
    if own.keys() != others.keys():
        return False
    return same_values(folder, tuple((own[name], others[name]) for name in own), few=True)


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

    As in transformers, an index says which files there are, and each file what is in it.

    Raises:
        CheckpointError: a shard is missing, or a header is invalid.
    """
    return tuple(t for file in weight_files(folder) for t in read_header(folder / file))
