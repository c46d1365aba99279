"""Weights that are quantized already, in each method's published layout, written with NumPy.

The packing here goes integer by integer, unlike the package's, so that one checks the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.checkpoints import SMALL, write_sidecars
from tests.support.tiny import draw
from tests.support.weights import RawTensor, bf16, f16, f32, save

Parts = dict[str, RawTensor]
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The column of each place of a word, from the lowest bits (AutoAWQ, `packing_utils.py`)."""


@dataclass(frozen=True)
class Layer:
    """A quantized matrix: value = (code - zero point) * scale.

    Attributes:
        codes: unsigned, [N, K].
        scales: float32 [N, G], which *store* holds exactly.
        zero_points: [N, G]; 2^(bits-1) where symmetric.
        order: the group of each column, [K].
    """

    bits: int
    group: int
    codes: NDArray[np.int64]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def values(self) -> NDArray[np.float32]:
        """What the layer stands for, float32 [N, K]."""
        points, scales = self.zero_points[:, self.order], self.scales[:, self.order]
        return (self.codes - points).astype(np.float32) * scales


Encode = Callable[[Layer], Parts]


def random_layer(
    rows: int,
    columns: int,
    *,
    bits: int = 4,
    group: int = 32,
    symmetric: bool = False,
    ordered: bool = False,
    seed: int = 0,
    exact: Callable[[NDArray[np.float32]], RawTensor] = f16,
) -> Layer:
    """Random codes; scales that *exact* stores without rounding, around 1 / sqrt(K) / 2^(bits-1).

    With *ordered*, the columns of a group lie anywhere.
    """
    generator = np.random.default_rng(seed)
    size = columns if group == -1 else group
    groups, levels = -(-columns // size), 1 << bits
    scales = generator.uniform(0.5, 1.5, (rows, groups)) / levels / np.sqrt(columns) * 4
    order = np.arange(columns) // size
    if ordered:
        order = generator.permutation(order)
    points = np.full((rows, groups), levels // 2)
    if not symmetric:
        points = generator.integers(1, levels, (rows, groups))
    return Layer(
        bits,
        size,
        generator.integers(0, levels, (rows, columns)),
        widened(exact(scales.astype(np.float32))),
        points,
        order,
    )


def widened(tensor: RawTensor) -> NDArray[np.float32]:
    """The values of a float tensor."""
    if tensor.dtype == "BF16":
        return (tensor.data.astype(np.uint32) << 16).view(np.float32)
    return tensor.data.astype(np.float32)


def words(
    codes: NDArray[Any], bits: int, axis: int, order: tuple[int, ...] = (), size: int = 32
) -> RawTensor:
    """Pack along *axis* into integers of *size* bits, padded with zeros; *order*: column by place.

    One integer at a time, in Python's own arithmetic.
    """
    count = size // bits
    moved = np.moveaxis(codes, axis, -1)
    padded = np.pad(moved, ((0, 0), (0, -moved.shape[1] % count)))
    packed = np.zeros((len(padded), padded.shape[1] // count), f"<u{size // 8}")
    for row, column in np.ndindex(packed.shape):
        taken = padded[row, column * count : (column + 1) * count]
        in_places = taken[list(order)] if order else taken
        packed[row, column] = sum(int(code) << bits * i for i, code in enumerate(in_places))
    return RawTensor(f"I{size}", np.ascontiguousarray(np.moveaxis(packed, -1, axis)))


def awq(layer: Layer) -> Parts:
    return {
        "qweight": words(layer.codes.T, 4, 1, AWQ_ORDER),
        "qzeros": words(layer.zero_points.T, 4, 1, AWQ_ORDER),
        "scales": f16(layer.scales.T),
    }


def gptq(layer: Layer, *, less: int = 1, g_idx: bool = True) -> Parts:
    """*less*: what zero points are stored less: 1 in the format `gptq`, 0 in `gptq_v2`."""
    parts = {
        "qweight": words(layer.codes.T, layer.bits, 0),
        "qzeros": words(layer.zero_points.T - less, layer.bits, 1),
        "scales": f16(layer.scales.T),
    }
    return parts | ({"g_idx": RawTensor("I32", layer.order.astype(np.int32))} if g_idx else {})


def gptq_v2(layer: Layer) -> Parts:
    return gptq(layer, less=0)


def packed(layer: Layer, store: Callable[[Any], RawTensor] = bf16) -> Parts:
    """compressed-tensors' `pack-quantized`."""
    parts = {
        "weight_packed": words(layer.codes, layer.bits, 1),
        "weight_scale": store(layer.scales),
        "weight_shape": RawTensor("I64", np.array(layer.codes.shape, np.int64)),
    }
    if (layer.zero_points != 1 << (layer.bits - 1)).any():
        parts["weight_zero_point"] = words(layer.zero_points, layer.bits, 0)
    return parts


def signed_bytes(layer: Layer) -> Parts:
    """compressed-tensors' `int-quantized`."""
    middle = 1 << (layer.bits - 1)
    parts = {
        "weight": RawTensor("I8", (layer.codes - middle).astype(np.int8)),
        "weight_scale": f32(layer.scales),
    }
    if (layer.zero_points != middle).any():
        parts["weight_zero_point"] = RawTensor("I8", (layer.zero_points - middle).astype(np.int8))
    return parts


def awq_settings(group: int = 32, **more: Any) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
            "version": "gemm", **more}  # fmt: skip


def gptq_settings(group: int = 32, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": 4, "group_size": group, "sym": False,
            "desc_act": False, **more}  # fmt: skip


def compressed_settings(format: str = "pack-quantized", **weights: Any) -> dict[str, Any]:
    usual = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group",
             "group_size": 32, "dynamic": False}  # fmt: skip
    return {
        "quant_method": "compressed-tensors", "format": format, "ignore": ["lm_head"],
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": usual | weights,
                                      "input_activations": None}},
    }  # fmt: skip


def write_quantized(
    folder: Path,
    encode: Encode,
    settings: Mapping[str, Any],
    config: Mapping[str, Any] = SMALL,
    *,
    by_name: Callable[[str], Mapping[str, Any]] = lambda _: {},
    floats: Sequence[str] = (),
    also: Sequence[str] = (),
    **layer: Any,
) -> dict[str, Layer]:
    """Write a checkpoint whose projections are random layers; returns those by weight.

    *layer*: arguments of `random_layer`, with others *by_name*. Everything else is drawn by
    `tiny.draw`, in bfloat16; so are projections whose names have one of *floats*.
    Weights named in *also* are quantized, too.
    """
    write_sidecars(folder, {**config, "quantization_config": dict(settings)})
    layers: dict[str, Layer] = {}
    tensors: dict[str, RawTensor] = {}
    for number, (name, values) in enumerate(draw(config).items()):
        module, _, part = name.rpartition(".")
        codes = name in also or (module.endswith("_proj") and part == "weight")
        if codes and not any(word in name for word in floats):
            chosen = {**layer, **by_name(name)}
            made = layers[name] = random_layer(*values.shape, seed=number, **chosen)
            tensors |= {f"{module}.{key}": tensor for key, tensor in encode(made).items()}
        else:
            tensors[name] = bf16(values)
    save(folder / "model.safetensors", tensors)
    return layers


def set_settings(folder: Path, **changes: Any) -> None:
    """Change entries of `quantization_config`; None removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    found = {**config["quantization_config"], **changes}
    config["quantization_config"] = {k: v for k, v in found.items() if v is not None}
    file.write_text(json.dumps(config), encoding="utf-8")
