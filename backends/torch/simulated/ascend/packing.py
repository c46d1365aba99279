"""int4 codes in int32: eight columns a word. Only operators of this folder know the order."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.ascend.products import A2_A3, require_product
from qdeploy.backends.torch.simulated.checks import require, told
from qdeploy.backends.torch.simulated.chips import Chip

PACK = "npu_convert_weight_to_int4pack"
IN_A_WORD = 8


def convert_weight_to_int4pack(chip: Chip, weight: Any, inner_k_tiles: int = 0) -> Any:
    """Pack codes -8 to 7, int32 [A, B], to int32 [A, B / 8]."""
    import torch

    require_product(chip, PACK, A2_A3)
    require(
        weight.dtype == torch.int32 and weight.dim() == 2 and weight.is_contiguous(), PACK,
        f"expected a contiguous int32 matrix, got {told(weight)}, strides {weight.stride()}",
    )  # fmt: skip
    require(
        weight.shape[1] % IN_A_WORD == 0, PACK,
        f"the last dimension, {weight.shape[1]}, is no multiple of 8",
    )  # fmt: skip
    low, high = int(weight.min()), int(weight.max())
    require(low >= -8 and high <= 7, PACK, f"codes {low} to {high} are not within -8 to 7")
    nibbles = (weight & 15).to(torch.uint8).unflatten(1, (-1, 2))
    pairs = nibbles[..., 0] | (nibbles[..., 1] << 4)
    return pairs.view(torch.int32)


def unpack(packed: Any) -> Any:
    """The codes of int32 [..., A, B / 8], int8 [..., A, B]; of its transpose, [..., B, A]."""
    import torch

    if packed.stride(-1) != 1:
        return unpack(packed.mT).mT
    pairs = packed.contiguous().view(torch.int8)
    # shifting a signed number to the right copies its sign
    return torch.stack((pairs << 4, pairs), -1).flatten(-2) >> 4
