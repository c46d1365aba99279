"""Large checkpoints of random codes, whose values nobody compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.checkpoints import write_sidecars
from tests.support.quantized import Parts, awq_settings
from tests.support.tiny import all_shapes
from tests.support.weights import RawTensor, bf16, f16, save


def random_awq(rows: int, columns: int, *, group: int = 32, seed: int = 0) -> Parts:
    """Parts of any codes, without the values that they stand for: quick for large matrices."""
    generator = np.random.default_rng(seed)

    def integers(*shape: int) -> RawTensor:
        return RawTensor("I32", generator.integers(0, 2**32, shape, np.uint32))

    groups = columns // group
    return {
        "qweight": integers(columns, rows // 8),
        "qzeros": integers(groups, rows // 8),
        "scales": f16(generator.uniform(0.001, 0.01, (groups, rows))),
    }


def write_random_awq(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write a checkpoint whose projections are random in AWQ's layout, and return its folder."""
    write_sidecars(folder, {**config, "quantization_config": awq_settings()})
    tensors: dict[str, RawTensor] = {}
    for number, (name, shape) in enumerate(all_shapes(config).items()):
        module = name.removesuffix(".weight")
        if module.endswith("_proj"):
            made = random_awq(*shape, seed=number)
            tensors |= {f"{module}.{key}": tensor for key, tensor in made.items()}
        else:
            tensors[name] = bf16(np.random.default_rng(number).normal(0, 0.02, shape))
    save(folder / "model.safetensors", tensors)
    return folder
