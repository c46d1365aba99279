"""The tensors of a file, read from its safetensors header without reading weights.

The `safetensors` library validates each header against the length of the file. This module adds the
file and tensor names to its errors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from qdeploy.checkpoint.recognition.damage import why_missing, why_unreadable
from qdeploy.errors import CheckpointError

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
