"""Weights as the published layout of each method stores them.

Codes are rounded to the nearest; what a method's calibration does to them changes no layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]
    Encode = Callable[[torch.Tensor], Tensors]
    """Stored parts of a weight [N, K], by the last part of their names."""

GROUP = 64
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Columns of the eight codes of a word of AWQ's GEMM layout, from the lowest bits."""
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


def _round(
    weight: torch.Tensor, bits: int, group: int, *, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unsigned codes [N, K], scales [N, G] in float16, and zero points [N, G]."""
    import torch

    groups = weight.unflatten(1, (-1, group))
    high, low = groups.amax(-1).clamp(min=1e-6), groups.amin(-1).clamp(max=-1e-6)
    top = 2**bits - 1
    if symmetric:
        scales = torch.maximum(high, -low) * 2 / top
        zeros = torch.full_like(scales, 2 ** (bits - 1))
    else:
        scales = (high - low) / top
        zeros = (-low / scales).round().clamp(0, top)
    scales = scales.half().float()
    codes = (groups / scales[..., None]).round() + zeros[..., None]
    return codes.clamp(0, top).flatten(1).int(), scales.half(), zeros.int()


def _pack(codes: torch.Tensor, bits: int, order: tuple[int, ...] = ()) -> torch.Tensor:
    """Pack the last axis of unsigned codes into int32 words, from the lowest bits."""
    import torch

    per_word = 32 // bits
    words = codes.long().unflatten(-1, (-1, per_word))[..., list(order or range(per_word))]
    packed = (words << (torch.arange(per_word) * bits)).sum(-1)
    return (packed - ((packed >> 31) << 32)).int()


def awq(weight: torch.Tensor, *, group: int = GROUP, zero_point: bool = True) -> Tensors:
    codes, scales, zeros = _round(weight, 4, group, symmetric=not zero_point)
    return {
        "qweight": _pack(codes.T, 4, AWQ_ORDER),
        "qzeros": _pack(zeros.T, 4, AWQ_ORDER),
        "scales": scales.T,
    }


def gptq(
    weight: torch.Tensor, *, bits: int = 4, group: int = GROUP, symmetric: bool = True,
    ordered: bool = False, version: int = 1, g_idx: bool = True,
) -> Tensors:  # fmt: skip
    import torch

    columns = weight.shape[1]
    group = columns if group == -1 else group
    index = torch.arange(columns) // group
    if ordered:  # columns of a group lie anywhere
        index = index[torch.randperm(columns, generator=torch.Generator().manual_seed(0))]
    by_group = torch.argsort(index, stable=True)
    codes, scales, zeros = _round(weight[:, by_group], bits, group, symmetric=symmetric)
    codes = codes[:, torch.argsort(by_group)]
    stored = (zeros - int(version == 1)) % 2**bits
    parts = {
        "qweight": _pack(codes, bits).T,
        "qzeros": _pack(stored.T, bits),
        "scales": scales.T,
        "g_idx": index.int(),
    }
    return parts if g_idx else {k: v for k, v in parts.items() if k != "g_idx"}


def fp8_blocks(weight: torch.Tensor, *, block: int = 64) -> Tensors:
    """The blocks at the edges may be cut short."""
    import torch

    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % block, 0, -rows % block))
    blocks = padded.unflatten(1, (-1, block)).unflatten(0, (-1, block))
    scales = blocks.abs().amax((1, 3)) / 448
    codes = (blocks / scales[:, None, :, None]).reshape(padded.shape)[:rows, :columns]
    return {"weight": codes.to(torch.float8_e4m3fn), "weight_scale_inv": scales}


def fp8_scale(weight: torch.Tensor, *, rows: bool, name: str = "weight_scale") -> Tensors:
    import torch

    scales = (weight.abs().amax(1, keepdim=True) if rows else weight.abs().amax()) / 448
    return {"weight": (weight / scales).to(torch.float8_e4m3fn), name: scales}


def compressed(
    weight: torch.Tensor, *, args: Mapping[str, Any], stored: str, order: bool = False
) -> Tensors:
    """A weight as compressed-tensors itself stores it."""
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    quantization = QuantizationArgs(**args)
    scheme = QuantizationScheme(targets=["Linear"], weights=quantization, format=stored)
    group = {"group": args.get("group_size"), "channel": weight.shape[1]}.get(args["strategy"])
    if args.get("type") == "float":
        scales = fp8_scale(weight, rows=args["strategy"] == "channel")["weight_scale"]
        scales = scales.reshape(-1, 1) if scales.dim() == 2 else scales.reshape(1)
        zeros = torch.zeros_like(scales)
    elif group is None:
        scales = (weight.abs().amax() * 2 / (2 ** args["num_bits"] - 1)).reshape(1)
        zeros = torch.zeros_like(scales)
    else:
        _, scales, zeros = _round(weight, args["num_bits"], group, symmetric=args["symmetric"])
        zeros = zeros - 2 ** (args["num_bits"] - 1)
    state = {
        "weight": weight, "weight_scale": scales.float(), "weight_zero_point": zeros.to(torch.int8),
    }  # fmt: skip
    made = BaseCompressor.get_value_from_registry(stored).compress(state, scheme)
    return {k: torch.as_tensor(v) for k, v in made.items()}


def bitsandbytes(weight: torch.Tensor, *, nested: bool = False) -> Tensors:
    """NF4 in blocks of 64, two codes a byte from the upper bits."""
    import torch

    levels = torch.tensor(NF4)
    blocks = weight.reshape(-1, 64)
    largest = blocks.abs().amax(1)
    codes = ((blocks / largest[:, None])[..., None] - levels).abs().argmin(-1).flatten()
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [*weight.shape]}
    parts = {
        "weight": ((codes[::2] << 4) | codes[1::2]).to(torch.uint8)[:, None],
        "weight.quant_map": levels,
    }
    if nested:
        offset = float(largest.mean())
        centred = largest - offset
        scale = centred.abs().amax().reshape(1)
        table = torch.linspace(-1, 1, 256)
        index = ((centred / scale)[:, None] - table).abs().argmin(-1)
        state |= {
            "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset,
        }  # fmt: skip
        count = -(-len(largest) // 256)
        parts |= {
            "weight.absmax": index.to(torch.uint8),
            "weight.nested_absmax": scale.repeat(count),
            "weight.nested_quant_map": table,
        }
    else:
        parts["weight.absmax"] = largest
    text = json.dumps(state).encode()
    parts["weight.quant_state.bitsandbytes__nf4"] = torch.tensor(list(text), dtype=torch.uint8)
    return parts
