"""The weights of a quantized checkpoint, with what every contender keeps of the float one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from qdeploy import models
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, check_weights, open_weights

Floats = NDArray[np.float32]

LINEAR = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)(\.experts\.\d+)?\.\w+_proj\.weight")
"""The weights that contenders quantize."""
PARTS = re.compile(
    r"(?P<module>.+)\.(weight|weight_packed|weight_scale|weight_zero_point|qweight|qzeros|scales)"
)
"""Tensors that a quantized layer needs: of compressed-tensors, and of AutoRound."""
WIDTHS = {"I8": 1, "F16": 2, "BF16": 2, "I32": 4, "F32": 4}
"""Bytes of a number of them."""


class Contender(WeightReader):
    """Linear layers of a quantized checkpoint; whatever else there is, of the float one.

    Norms are the quantized checkpoint's as well: a method may have moved scales into them.
    """

    def __init__(self, quantized: WeightReader, original: WeightReader) -> None:
        self._quantized, self._original = quantized, original

    @property
    def names(self) -> tuple[str, ...]:
        return self._original.names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._of(name).shape(name)

    def rows(
        self, name: str, start: int = 0, stop: int | None = None, *, out: Floats | None = None
    ) -> Floats:
        return self._of(name).rows(name, start, stop, out=out)

    def _of(self, name: str) -> WeightReader:
        is_quantized = LINEAR.fullmatch(name) or len(self._original.shape(name)) == 1
        return self._quantized if is_quantized else self._original

    def close(self) -> None:
        self._quantized.close()


@dataclass(frozen=True)
class Model:
    """An opened float checkpoint."""

    checkpoint: Checkpoint
    weights: WeightReader

    @property
    def linears(self) -> list[str]:
        return [name for name in self.weights.names if LINEAR.fullmatch(name)]

    @property
    def quantized_weights(self) -> int:
        """How many weights are quantized."""
        return sum(int(np.prod(self.weights.shape(name))) for name in self.linears)

    def bytes_of(self, group_size: int, *, symmetric: bool) -> int:
        """Bytes of their codes, of a float16 scale and maybe four bits of zero point a group."""
        bits = 4 + (16 if symmetric else 20) / group_size
        return round(self.quantized_weights * bits / 8)


def folder_of(model: str) -> Path:
    """The folder of an embedded model, or the folder of that name."""
    return models.path(model) if model in models.EMBEDDED else Path(model)


def open_model(folder: Path) -> Model:
    """Open a checkpoint, quantized or not.

    Raises:
        CheckpointError: it cannot be read, or has not the weights of its config.
    """
    checkpoint = read_checkpoint(folder)
    check_weights(checkpoint)
    return Model(checkpoint, open_weights(checkpoint))


def stored_bytes(folder: Path) -> int:
    """Bytes of the tensors that the quantized linear layers of a checkpoint consist of."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "numpy") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                part = PARTS.fullmatch(name)
                if part and LINEAR.fullmatch(f"{part['module']}.weight"):
                    tensor = opened.get_slice(name)
                    total += int(np.prod(tensor.get_shape())) * WIDTHS[tensor.get_dtype()]
    return total


def write_floats(folder: Path, model: Model, weights: Mapping[str, Floats]) -> None:
    """Write a float32 checkpoint: *weights*, and the vectors and the rest of *model*.

    Raises:
        ValueError: the weights are not the linear layers of the model.
    """
    if set(weights) != set(model.linears):
        raise ValueError(f"not the linear layers: {set(weights) ^ set(model.linears)}")
    for path in model.checkpoint.sidecars.values():
        shutil.copy(path, folder / path.name)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"torch_dtype": "float32", "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rest = {n: model.weights.rows(n) for n in model.weights.names if n not in weights}
    save_file({**rest, **weights}, folder / "model.safetensors", {"format": "pt"})
