"""Weights that compressed-tensors itself compressed, read as it decompresses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.weights import open_weights
from tests.support import quantized as q
from tests.support.checkpoints import SMALL
from tests.support.weights import RawTensor, save_checkpoint

torch = pytest.importorskip("torch", reason="needs qdeploy[parity]")
pytest.importorskip("compressed_tensors", reason="needs qdeploy[parity]")

ROWS, COLUMNS = 19, 128
DTYPES = {
    "torch.int32": "I32", "torch.int64": "I64", "torch.int8": "I8", "torch.uint8": "U8",
    "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16",
    "torch.float8_e4m3fn": "F8_E4M3",
}  # fmt: skip

INT = {"type": "int"}
FLOAT = {"type": "float", "symmetric": True}
SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "int4 asym g32": ("pack-quantized", INT),
    "int4 sym g64": ("pack-quantized", INT | {"symmetric": True, "group_size": 64}),
    "int8 asym channel": (
        "pack-quantized", INT | {"num_bits": 8, "strategy": "channel", "group_size": None},
    ),
    "int8 sym": (
        "int-quantized",
        INT | {"num_bits": 8, "symmetric": True, "strategy": "channel", "group_size": None},
    ),
    "int8 asym": (
        "naive-quantized", INT | {"num_bits": 8, "strategy": "channel", "group_size": None},
    ),
    "float8 channel": (
        "float-quantized", FLOAT | {"num_bits": 8, "strategy": "channel", "group_size": None},
    ),
    "float8 tensor": (
        "naive-quantized", FLOAT | {"num_bits": 8, "strategy": "tensor", "group_size": None},
    ),
    "float8 block": (
        "float-quantized",
        FLOAT
        | {"num_bits": 8, "strategy": "block", "group_size": None, "block_structure": [8, 32]},
    ),
    "nvfp4": (
        "nvfp4-pack-quantized",
        FLOAT | {"num_bits": 4, "strategy": "tensor_group", "group_size": 16},
    ),
    "mxfp4": (
        "mxfp4-pack-quantized", FLOAT | {"num_bits": 4, "strategy": "group", "group_size": 32},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMES)
def test_as_the_library_decompresses_it(tmp_path: Path, name: str) -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    layout, weights = SCHEMES[name]
    settings = q.compressed_settings(layout, **weights)
    described = settings["config_groups"]["group_0"]["weights"]
    args = QuantizationArgs.model_validate(described)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    state = {"weight": weight}
    low, high = _ends(weight, args)
    if name == "nvfp4":
        state["weight_global_scale"] = torch.tensor([448 * 6 / weight.abs().max()])
    scales, points = calculate_qparams(low, high, args, state.get("weight_global_scale"))
    state |= {"weight_scale": scales, "weight_zero_point": points}
    compressor = BaseCompressor.get_value_from_registry(layout)
    stored = compressor.compress(state, scheme)
    wanted = compressor.decompress(stored, scheme)["weight"].float().numpy()
    tensors = {f"x.{part}": _raw(tensor) for part, tensor in stored.items()}
    made = save_checkpoint(tmp_path, tensors, SMALL | {"quantization_config": settings})
    with open_weights(made) as source:
        found = source.rows("x.weight")
    rounding = 2**-8 if name == "nvfp4" else 0  # the library gives these in bfloat16
    np.testing.assert_allclose(found, wanted, rtol=rounding, atol=0)


def _ends(weight: Any, args: Any) -> tuple[Any, Any]:
    """Lowest and highest weight that share a scale, in the shape of the scales."""
    if args.strategy == "block":
        high, wide = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -COLUMNS % wide, 0, -ROWS % high))
        blocks = padded.unflatten(0, (-1, high)).unflatten(2, (-1, wide))
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    if args.strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    size = args.group_size or COLUMNS
    groups = weight.unflatten(1, (-1, size))
    return groups.amin(-1), groups.amax(-1)


def _raw(tensor: Any) -> RawTensor:
    dtype = DTYPES[str(tensor.dtype)]
    if dtype in ("BF16", "F8_E4M3"):
        tensor = tensor.view(torch.int16 if dtype == "BF16" else torch.uint8)
    return RawTensor(dtype, tensor.contiguous().numpy())
