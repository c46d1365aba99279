"""How `_convert_weight_to_int4pack_for_cpu` lays codes out, which depends on the processor.

Rows are taken in blocks of B, and bytes lie as [N / B, K, B / 2]: two rows of a block share a byte.
Source: aten/src/ATen/native/cpu/int4mm_kernel.cpp, `weight_to_int4pack_kernel`. Which layout this
processor has is found out by packing a known weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Tensor = Any

BLOCKS = 64
"""A multiple of the rows of every layout's block."""


@dataclass(frozen=True)
class Layout:
    """Which rows share a byte.

    Attributes:
        block: rows of a block.
        halves: rows n and n + B/2 share a byte; otherwise rows 2n and 2n + 1. The first of the two
            has the low half of the byte.
    """

    block: int
    halves: bool

    def unpack(self, packed: Tensor, made: Tensor) -> None:
        """Write the codes of some blocks into *made*.

        Args:
            packed: uint8 [N, K / 2], N a multiple of the block.
            made: [K, N], of any type.
        """
        columns, rows = made.shape
        bytes_ = packed.view(rows // self.block, columns, self.block // 2)
        pair = (2, self.block // 2) if self.halves else (self.block // 2, 2)
        blocks = made.view(columns, rows // self.block, *pair).transpose(0, 1)
        axis = 2 if self.halves else 3
        blocks.select(axis, 0).copy_(bytes_ & 15)
        blocks.select(axis, 1).copy_(bytes_ >> 4)


LAYOUTS = (
    Layout(64, halves=True),  # AVX-512
    Layout(32, halves=True),  # AVX2
    Layout(32, halves=False),  # x86 without AVX2, or vectors of 256 bits elsewhere
    Layout(16, halves=False),  # ARM's vectors of 128 bits
)


@cache
def layout() -> Layout | None:
    """The layout of this processor; None if it is none of those that are known."""
    import torch

    codes = torch.randint(0, 16, (2 * BLOCKS, 4), generator=torch.Generator().manual_seed(0))
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1)
    for known in LAYOUTS:
        made = torch.empty(codes.shape[::-1], dtype=torch.uint8)
        known.unpack(packed, made)
        if torch.equal(made.t(), codes.to(torch.uint8)):
            return known
    return None
