"""Weights of 4 bits in groups, bfloat16 inputs. Source: int4mm.cu."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.checks import require, told
from qdeploy.backends.torch.simulated.chips import Chip
from qdeploy.backends.torch.simulated.unpacked import once

PACK = "_convert_weight_to_int4pack"
MULTIPLY = "_weight_int4pack_mm"
INNER_TILES = (2, 4, 8)
GROUPS = (32, 64, 128, 256)
K_TILE = 16
CDNA2_OR_LATER = ("gfx90a", "gfx942", "gfx950")
"""`isCDNA2orLater`: those with the matrix instruction that the kernel is written in."""


def convert_weight_to_int4pack(chip: Chip, weight: Any, inner_tiles: int) -> Any:
    """Pack codes 0 to 15, uint8 [N, K / 2] with the even column in the high half of a byte.

    Returns:
        int32 [N / 8, K / (16 * inner_tiles), 32, inner_tiles / 2], in an order of our own.
    """
    import torch

    _check_chip(chip, PACK)
    require(weight.dim() == 2, PACK, f"expected a matrix, got {told(weight)}")
    require(weight.dtype == torch.uint8, PACK, f"expected uint8, got {told(weight)}")
    require(weight.is_contiguous(), PACK, "expected a contiguous weight")
    require(inner_tiles in INNER_TILES, PACK, f"innerKTiles is {inner_tiles}, not 2, 4 or 8")
    rows, columns = weight.shape[0], 2 * weight.shape[1]
    tile = inner_tiles * K_TILE
    require(columns % tile == 0, PACK, f"K {columns} is no multiple of {tile}")
    _check_rows(chip, PACK, rows)
    words = weight.view(torch.int32).reshape(rows // 8, 8, columns // tile, tile // 8)
    return words.transpose(1, 2).reshape(rows // 8, columns // tile, 32, inner_tiles // 2)


def weight_int4pack_mm(chip: Chip, x: Any, packed: Any, group: int, scales_and_zeros: Any) -> Any:
    """Multiply x [M, K] by the transposed weight, (code - 8) * scale + zero in bfloat16 each.

    *scales_and_zeros* is bfloat16 [K / group, N, 2]. It gives bfloat16 [M, N], from float32 sums.
    """
    import torch

    _check_chip(chip, MULTIPLY)
    require(
        x.dim() == 2 and x.dtype == torch.bfloat16 and x.is_contiguous(), MULTIPLY,
        f"expected a contiguous bfloat16 matrix, got {told(x)}, strides {x.stride()}",
    )  # fmt: skip
    require(
        packed.dim() == 4 and packed.dtype == torch.int32 and packed.is_contiguous(), MULTIPLY,
        f"expected a packed contiguous int32 weight of 4 dimensions, got {told(packed)}",
    )  # fmt: skip
    inner_tiles, columns, rows = 2 * packed.shape[3], x.shape[1], 8 * packed.shape[0]
    require(inner_tiles in INNER_TILES, MULTIPLY, f"innerKTiles is {inner_tiles}, not 2, 4 or 8")
    tiles = columns // (inner_tiles * K_TILE)
    require(
        tiles > 0 and tuple(packed.shape[1:3]) == (tiles, 32), MULTIPLY,
        f"{told(packed)} is no weight of {columns} columns",
    )  # fmt: skip
    require(
        columns % (inner_tiles * K_TILE) == 0, MULTIPLY,
        f"K {columns} is no multiple of {inner_tiles * K_TILE}",
    )  # fmt: skip
    require(group in GROUPS, MULTIPLY, f"qGroupSize is {group}, not one of {GROUPS}")
    require(columns % group == 0, MULTIPLY, f"K {columns} is no multiple of qGroupSize {group}")
    _check_rows(chip, MULTIPLY, rows)
    # torch checks N and the last axis only, and reads whatever lies there as bfloat16
    wanted = (columns // group, rows, 2)
    require(
        scales_and_zeros.dtype == torch.bfloat16 and tuple(scales_and_zeros.shape) == wanted
        and scales_and_zeros.is_contiguous(), MULTIPLY,
        f"expected contiguous scales and zeros, bfloat16 {list(wanted)}, got "
        f"{told(scales_and_zeros)}",
    )  # fmt: skip

    def dequantized() -> Any:
        codes = _unpack(packed, rows, columns).float().view(rows, -1, group) - 8
        scales, zeros = scales_and_zeros.float().permute(2, 1, 0)[..., None]
        return (codes * scales + zeros).bfloat16().view(rows, columns).float()

    weight = once(dequantized, packed, scales_and_zeros)
    return (x.float() @ weight.t()).bfloat16()


def _unpack(packed: Any, rows: int, columns: int) -> Any:
    import torch

    tiles = packed.shape[1]
    words = packed.reshape(rows // 8, tiles, 8, -1).transpose(1, 2).contiguous()
    codes = words.view(torch.uint8).reshape(rows, columns // 2)
    return torch.stack((codes >> 4, codes & 15), -1).view(rows, columns)


def _check_chip(chip: Chip, operator: str) -> None:
    if chip.target == "cuda":
        capable = chip.capability >= (8, 0)
        require(
            capable, operator, f"needs compute capability 8.0, {chip.title} has {chip.architecture}"
        )
    else:
        require(
            chip.architecture in CDNA2_OR_LATER, operator,
            "is only supported on AMD gpu arch greater than or equal to CDNA2, not "
            f"{chip.architecture}",
        )  # fmt: skip


def _check_rows(chip: Chip, operator: str, rows: int) -> None:
    # torch rounds the rows up to whole tiles, whose last part is then read and written past the end
    tile = 8 if chip.target == "cuda" else 16
    require(rows % tile == 0, operator, f"N {rows} is no multiple of {tile}")
