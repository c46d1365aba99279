"""`Peek`: reads the few bytes of a checkpoint's files that a plan needs to know shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.checkpoint.headers import TensorInfo

if TYPE_CHECKING:
    from qdeploy.checkpoint.sources.safetensors import TensorFile

MOST_BYTES = 2**16


class Peek:
    """Small tensors of the weight files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, TensorFile] = {}

    def bytes_of(self, tensor: TensorInfo) -> bytes:
        """The content of a small tensor.

        Raises:
            ValueError: it is not small.
            CheckpointError: the file cannot be read.
        """
        import numpy as np

        from qdeploy.checkpoint.sources.safetensors import TensorFile

        if tensor.nbytes > MOST_BYTES:
            raise ValueError(f"{tensor.nbytes} bytes")
        if tensor.file not in self._files:
            self._files[tensor.file] = TensorFile(self._folder / tensor.file)
        return self._files[tensor.file].stored(tensor.name, np.dtype("u1")).tobytes()
