"""Weight files with real values, in every dtype of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from tests.support.checkpoints import SMALL, write_header, write_index, write_sidecars

BLOCK = 128
FP8_CONFIG: dict[str, Any] = {
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
}


class RawTensor(NamedTuple):
    """A tensor as a file holds it: safetensors dtype, and elements in a NumPy dtype."""

    dtype: str
    data: NDArray[Any]


def bf16(values: ArrayLike) -> RawTensor:
    """Truncate to bfloat16, which NumPy does not have."""
    bits = np.asarray(values, np.float32).view(np.uint32) >> 16
    return RawTensor("BF16", bits.astype(np.uint16))


def f16(values: ArrayLike) -> RawTensor:
    return RawTensor("F16", np.asarray(values, np.float16))


def f32(values: ArrayLike) -> RawTensor:
    return RawTensor("F32", np.asarray(values, np.float32))


def fp8(codes: ArrayLike) -> RawTensor:
    return RawTensor("F8_E4M3", np.asarray(codes, np.uint8))


def save(file: Path, tensors: Mapping[str, RawTensor]) -> None:
    """Write a safetensors file."""
    entries: dict[str, Any] = {}
    end = 0
    for name, (dtype, data) in tensors.items():
        start, end = end, end + data.nbytes
        entries[name] = {"dtype": dtype, "shape": data.shape, "data_offsets": [start, end]}
    write_header(file, entries, 0)
    with file.open("ab") as out:
        for tensor in tensors.values():
            out.write(tensor.data.tobytes())


def save_checkpoint(
    folder: Path, tensors: Mapping[str, RawTensor], config: Mapping[str, Any] = SMALL
) -> Checkpoint:
    """Write a checkpoint of one file, and read it back as one."""
    write_sidecars(folder, config)
    save(folder / "model.safetensors", tensors)
    return read_checkpoint(folder)


def save_shards(
    folder: Path, shards: Mapping[str, Mapping[str, RawTensor]], config: Mapping[str, Any] = SMALL
) -> Checkpoint:
    """Write a checkpoint of several files by their names, and read it back as one."""
    write_sidecars(folder, config)
    for file, tensors in shards.items():
        save(folder / file, tensors)
    write_index(folder, {name: file for file, tensors in shards.items() for name in tensors})
    return read_checkpoint(folder)
