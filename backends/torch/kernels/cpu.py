"""Kernels of the CPU: torch's operators for few tokens, dequantization for many.

Measured on AMD Zen 5 for all linear layers of 0.6B's shape, see docs/torch.md: the int4 operator
reads a quarter of bfloat16's bytes and is several times as fast for one row; from some tens of rows
on, bfloat16's matrix product is faster although each weight is dequantized before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.dequantized import dequantize
from qdeploy.backends.torch.kernels.host import offsets, scales, unsigned_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

INT4_ROWS = 64
"""Rows that the layout interleaves; a weight is padded to a multiple of them."""
PACK_ROWS = 64 * INT4_ROWS
"""Rows that are packed at a time, as int32."""
FEW_ROWS = 64
"""Up to so many tokens the operator is used, and dequantization above."""


class Int4(Layer):
    """`_weight_int4pack_mm_for_cpu`: bfloat16 only, float32 inputs take a path 70 times slower.

    codes uint8 [N / 64, K, 32]: rows n and n + 32 of each 64 share a byte, where the processor has
    AVX-512. Scales and offsets bfloat16 [G, N, 2].
    """

    def __init__(self, weight: Quantized, form: Form) -> None:
        import torch

        codes = unsigned_codes(weight)
        self.rows, padding = codes.shape[0], -codes.shape[0] % INT4_ROWS
        both = torch.stack((scales(weight, torch.bfloat16), offsets(weight, torch.bfloat16)), -1)
        if padding:
            codes = torch.nn.functional.pad(codes, (0, 0, 0, padding))
            both = torch.nn.functional.pad(both, (0, 0, 0, 0, 0, padding))
        pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
        self._codes = torch.cat([pack(part, 1) for part in codes.split(PACK_ROWS)])
        self._scales_and_zeros = both.transpose(0, 1).contiguous()
        self._group = form.group
        self._known_layout = torch.equal(self._unpacked(), codes.to(torch.uint8))

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        if x.shape[0] > FEW_ROWS and self._known_layout:
            made = torch.nn.functional.linear(x, self._dequantized())
        else:
            made = torch.ops.aten._weight_int4pack_mm_for_cpu(
                x, self._codes, self._group, self._scales_and_zeros
            )
        return made if made.shape[-1] == self.rows else made[:, : self.rows]

    def _unpacked(self) -> Tensor:
        """The codes from 0 to 15, uint8 [N, K]."""
        import torch

        blocks = self._codes.view(self._codes.shape[0] // INT4_ROWS, -1, INT4_ROWS // 2)
        both = torch.cat((blocks & 15, blocks >> 4), -1)
        return both.transpose(1, 2).reshape(self._codes.shape[0], -1)

    def _dequantized(self) -> Tensor:
        scales, zeros = self._scales_and_zeros.permute(2, 1, 0)
        return dequantize(self._unpacked().to(scales.dtype) - 8, scales, zeros)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales_and_zeros)


def _why_not_int4(form: Form) -> str | None:
    if form.precision.dtype != "int4" or form.activations != "none":
        return "it takes int4 weights and float inputs"
    if form.dtype != "bfloat16":
        return "it computes in bfloat16"
    if form.group not in (32, 64, 128, 256):
        return "it takes groups of 32, 64, 128 or 256"
    return None


def _pack_int4(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int4(weight, form)


INT4 = Kernel(
    "aten::_weight_int4pack_mm_for_cpu",
    _why_not_int4,
    _pack_int4,
    "aten/src/ATen/native/LinearAlgebra.cpp",
)
