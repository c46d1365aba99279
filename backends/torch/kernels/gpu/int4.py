"""Weights of 4 bits with a scale for each group, bfloat16 inputs. Source: int4mm.cu.

The operator is made for few rows: it reads the weight once for every 16 of them. It takes any
number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.host import offsets, pad_rows, scales, signed_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

GROUPS = (32, 64, 128, 256)
ROWS = 16
"""A weight is padded to a multiple of them: a tile has 8 on CUDA devices, 16 on HIP devices."""
TILE = 16
"""Columns of a tile; 2, 4 or 8 tiles lie together."""
INNER_TILES = (8, 4, 2)


class Int4(Layer):
    """The operator's own layout, int32 [N / 8, K / (16 T), 32, T / 2] of T tiles that lie together.

    Scales and offsets are bfloat16 [G, N, 2]: a weight is (code - 8) * scale + offset.
    """

    def __init__(self, weight: Quantized, form: Form, place: Place) -> None:
        import torch

        self.rows, self._group = weight.codes.shape[0], form.group
        self._codes = torch.ops.aten._convert_weight_to_int4pack(
            place(packed_bytes(weight)), inner_tiles(form.columns)
        )
        self._scales_and_offsets = place(scales_and_offsets(weight))

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        made = torch.ops.aten._weight_int4pack_mm(
            x.contiguous(), self._codes, self._group, self._scales_and_offsets
        )
        return made if made.shape[-1] == self.rows else made.narrow(1, 0, self.rows)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales_and_offsets)


def packed_bytes(weight: Quantized) -> Tensor:
    """Codes 0 to 15, uint8 [N, K / 2] with the even column in the high half; N is padded."""
    import torch

    codes = pad_rows((signed_codes(weight) + 8).view(torch.uint8), ROWS)
    return (codes[:, ::2] << 4) | codes[:, 1::2]


def scales_and_offsets(weight: Quantized) -> Tensor:
    """Bfloat16 [G, N, 2], with N padded."""
    import torch

    both = (scales(weight, torch.bfloat16), offsets(weight, torch.bfloat16))
    return torch.stack([pad_rows(t, ROWS).t() for t in both], -1).contiguous()


def inner_tiles(columns: int) -> int:
    """How many tiles of a row lie together: the most that divide it."""
    return next(count for count in INNER_TILES if columns % (count * TILE) == 0)


def why_not_int4(form: Form) -> str | None:
    """Why the operator does not take weights of *form*, or None."""
    if form.precision.dtype != "int4" or form.activations != "none":
        return "it takes int4 weights and float inputs"
    if form.dtype != "bfloat16":
        return "it computes in bfloat16"
    if form.group not in GROUPS:
        return "it takes groups of 32, 64, 128 or 256"
    if form.columns % (INNER_TILES[-1] * TILE):
        return "it takes multiples of 32 columns"
    return None


def _pack(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int4(weight, form, place)


INT4 = Kernel("aten::_weight_int4pack_mm", why_not_int4, _pack, "int4mm.cu")
