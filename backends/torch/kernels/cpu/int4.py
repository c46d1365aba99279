"""Weights of four bits: `_weight_int4pack_mm_for_cpu`, and tiles dequantized to bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.cpu.layouts import BLOCKS, layout
from qdeploy.backends.torch.kernels.cpu.switching import TILE, Switch, Switching
from qdeploy.backends.torch.kernels.host import MIDDLE, offsets, pad_rows, scales, signed_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

PACKED = 1 << 21
"""Elements of a weight that are packed at a time, as int32."""


class Int4(Switching):
    """bfloat16 only: with float32 inputs the operator takes a path 70 times slower.

    Codes uint8 [N, K / 2] in a layout of the processor; scales and offsets bfloat16 [G, N, 2]. N is
    padded to whole blocks.
    """

    def __init__(self, weight: Quantized, form: Form, switch: Switch) -> None:
        import torch

        codes = pad_rows(signed_codes(weight), BLOCKS)
        super().__init__(weight.codes.shape[0], codes.shape[1], switch)
        both = torch.stack((scales(weight, torch.bfloat16), offsets(weight, torch.bfloat16)), -1)
        both = pad_rows(both.flatten(1), BLOCKS).unflatten(1, (-1, 2))
        pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
        self._codes = torch.empty((len(codes), self._columns // 2), dtype=torch.uint8)
        step = max(PACKED // self._columns // BLOCKS, 1) * BLOCKS
        for part, made in zip(codes.split(step), self._codes.split(step), strict=True):
            made.copy_(pack(part.to(torch.int32).add_(MIDDLE[4]), 1))
        self._scales_and_offsets = both.transpose(0, 1).contiguous()
        self._group, self._symmetric = form.group, form.precision.symmetric
        self._layout = layout()
        switch.offer(self)

    @property
    def has_both(self) -> bool:
        return self._layout is not None

    def operator(self, x: Tensor) -> Tensor:
        import torch

        made = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x, self._codes, self._group, self._scales_and_offsets
        )
        return made if made.shape[-1] == self.rows else made[:, : self.rows]

    def dequantized(self, x: Tensor) -> Tensor:
        import torch

        made = x.new_empty((x.shape[0], self._codes.shape[0]))
        step = max(TILE // self._columns // BLOCKS, 1) * BLOCKS
        for start in range(0, made.shape[1], step):
            part = made[:, start : start + step]
            torch.mm(x, self.tile(start, part.shape[1]), out=part)
        return made if made.shape[-1] == self.rows else made[:, : self.rows]

    def tile(self, start: int, count: int) -> Tensor:
        """Some rows of the weight, dequantized and transposed: bfloat16 [K, count]."""
        import torch

        assert self._layout is not None  # noqa: S101
        made = torch.empty((self._columns, count), dtype=torch.bfloat16)
        self._layout.unpack(self._codes.narrow(0, start, count), made)
        # copied, since products with numbers that do not lie side by side are not vectorized
        scale, offset = (
            part.contiguous().unsqueeze(1)
            for part in self._scales_and_offsets.narrow(1, start, count).unbind(-1)
        )
        groups = made.unflatten(0, (-1, self._group)).sub_(MIDDLE[4])
        if self._symmetric:
            groups.mul_(scale)
        else:
            torch.addcmul(offset, groups, scale, out=groups)
        return made

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales_and_offsets)


def _why_not(form: Form) -> str | None:
    if form.precision.dtype != "int4" or form.activations != "none":
        return "it takes int4 weights and float inputs"
    if form.dtype != "bfloat16":
        return "it computes in bfloat16"
    if form.group not in (32, 64, 128, 256):
        return "it takes groups of 32, 64, 128 or 256"
    return None


def int4(switch: Switch) -> Kernel:
    """The row for four bits, whose layers use the operator as *switch* says."""

    def pack(weight: Matrix, form: Form, place: Place) -> Layer:
        assert isinstance(weight, Quantized)  # noqa: S101
        return Int4(weight, form, switch)

    return Kernel(
        "aten::_weight_int4pack_mm_for_cpu",
        _why_not,
        pack,
        "aten/src/ATen/native/LinearAlgebra.cpp",
    )
