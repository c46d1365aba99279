"""A model with its projections rounded to codes, in the layout of a quantization method."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision
from tests.support.quantized import Encode, Layer, Parts
from tests.support.weights import bf16, save


def quantize_model(
    source: Path,
    folder: Path,
    encode: Encode,
    settings: Mapping[str, Any],
    *,
    bits: int = 4,
    group: int = 32,
    symmetric: bool = False,
) -> dict[str, Layer]:
    """Write the model in *source* with its projections rounded to the nearest codes."""
    shutil.copytree(source, folder)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = dict(settings)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    precision = Precision(
        dtype="int4" if bits == 4 else "int8", symmetric=symmetric, group_size=group
    )
    layers: dict[str, Layer] = {}
    tensors: Parts = {}
    with open_weights(read_checkpoint(source)) as weights:
        for name in weights.names:
            module = name.removesuffix(".weight")
            if not module.endswith("_proj"):
                tensors[name] = bf16(weights.rows(name))
                continue
            made = layers[name] = _rounded(weights.rows(name), precision)
            tensors |= {f"{module}.{key}": tensor for key, tensor in encode(made).items()}
    save(folder / "model.safetensors", tensors)
    return layers


def _rounded(weight: NDArray[np.float32], precision: Precision) -> Layer:
    found = quantize(weight, precision)
    middle = 1 << (precision.bits - 1)
    points, codes = found.zero_points, found.codes.astype(np.int64)
    columns, size = weight.shape[1], precision.group_size
    return Layer(
        precision.bits,
        columns if size == -1 else size,
        codes if points is not None else codes + middle,
        found.scales.astype(np.float32),
        np.full(found.scales.shape, middle) if points is None else points.astype(np.int64),
        np.arange(columns) // (columns if size == -1 else size),
    )
