"""Experts of 4 bits on CUDA and HIP devices: `_weight_int4pack_mm` for few tokens.

The operator takes 16 rows at the price of one, and has no way to pick one of several weights for
each. So the codes of up to 16 chosen experts are copied behind one another and packed as one
weight; all rows are multiplied by all of it, and each keeps what its own expert gave. That reads
and writes 2.5 bytes for two weights, where dequantizing them takes over 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form
from qdeploy.backends.torch.kernels.dequantized import dequantize
from qdeploy.backends.torch.kernels.gpu.int4 import (
    INT4,
    ROWS,
    inner_tiles,
    packed_bytes,
    scales_and_offsets,
    why_not_int4,
)
from qdeploy.backends.torch.kernels.grouped import NAME, Kind, grouped
from qdeploy.backends.torch.kernels.stacks import Stack
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

AT_A_TIME = 16
"""Rows of a tile of the operator."""


class Int4Stack(Stack):
    """Codes uint8 [E, N, K / 2] as the operator that packs takes them.

    Scales and offsets are bfloat16 [E, G, N, 2].
    """

    def _at_a_time(self) -> int:
        return AT_A_TIME

    def _multiply(self, held: Sequence[Tensor], x: Tensor) -> Tensor:
        import torch

        codes, both = held
        count, rows, _ = codes.shape
        packed = torch.ops.aten._convert_weight_to_int4pack(
            codes.flatten(0, 1), inner_tiles(self.form.columns)
        )
        both = both.transpose(0, 1).flatten(1, 2)
        made = torch.ops.aten._weight_int4pack_mm(x.contiguous(), packed, self.form.group, both)
        return made.view(count, count, rows).diagonal(dim1=0, dim2=1).t().contiguous()

    def _dequantized(self, held: Sequence[Tensor]) -> Tensor:
        import torch

        codes, both = held
        codes = torch.stack((codes >> 4, codes & 15), -1).view(torch.int8).flatten(-2) - 8
        scales, offsets = both.permute(3, 0, 2, 1).unbind(0)
        return dequantize(codes, scales, offsets)


def _parts(weight: Matrix, form: Form) -> tuple[Tensor, ...]:
    assert isinstance(weight, Quantized)  # noqa: S101
    return packed_bytes(weight), scales_and_offsets(weight)


def _why_not(form: Form) -> str | None:
    reason = why_not_int4(form)
    if reason is None and form.rows % ROWS:
        return f"it takes multiples of {ROWS} rows"
    return reason


INT4_EXPERTS = grouped(
    f"{NAME} with {INT4.name}",
    Kind(_why_not, _parts, Int4Stack),
    f"{INT4.source}, GroupedBlas.cpp",
)
