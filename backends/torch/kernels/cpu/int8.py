"""Weights of eight bits with a scale for each row.

For float inputs `_weight_int8pack_mm`, and tiles dequantized to bfloat16; for int8 inputs
`_int_mm`. Sources: aten/src/ATen/native/cpu/int8mm_kernel.cpp, native/LinearAlgebra.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import (
    STATIC,
    Form,
    Kernel,
    Layer,
    Place,
    why_not_int8_by_row,
)
from qdeploy.backends.torch.kernels.cpu.switching import TILE, Switch, Switching
from qdeploy.backends.torch.kernels.host import input_scale, scales, signed_codes
from qdeploy.backends.torch.kernels.rounding import round_to_int8
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any


class Int8(Switching):
    """Codes int8 [N, K], scales bfloat16 [N]."""

    def __init__(self, weight: Quantized, switch: Switch) -> None:
        import torch

        rows, columns = weight.codes.shape
        super().__init__(rows, columns, switch)
        self._codes = signed_codes(weight)
        self._scales = scales(weight, torch.bfloat16)[:, 0].contiguous()
        switch.offer(self)

    def operator(self, x: Tensor) -> Tensor:
        import torch

        return torch.ops.aten._weight_int8pack_mm(x.contiguous(), self._codes, self._scales)

    def dequantized(self, x: Tensor) -> Tensor:
        import torch

        made = x.new_empty((x.shape[0], self.rows))
        step = max(TILE // self._columns, 1)
        for codes, part in zip(self._codes.split(step), made.split(step, -1), strict=True):
            # codes are exact in bfloat16, so that scaling the product rounds no more often
            torch.mm(x, codes.to(x.dtype).t(), out=part)
        return made.mul_(self._scales)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales)


class Int8Inputs(Layer):
    """Codes int8 [N, K], scales float32 [N]; inputs are rounded to int8.

    That is row by row, or by a scale of the layer's, float32 [1].
    """

    def __init__(self, weight: Quantized) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        self._input_scale = input_scale(weight)
        self._codes = signed_codes(weight)
        self._scales = scales(weight, torch.float32)[:, 0].contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        codes, input_scales = round_to_int8(x, self._input_scale)
        sums = torch.ops.aten._int_mm(codes, self._codes.t()).to(torch.float32)
        return sums.mul_(input_scales).mul_(self._scales).to(x.dtype)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for t in (self._codes, self._scales, self._input_scale) if t is not None)


def _why_not_floats(form: Form) -> str | None:
    reason = why_not_int8_by_row(form, "none")
    if reason is None and form.dtype != "bfloat16":
        return "it computes in bfloat16"
    return reason


def _pack_inputs(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int8Inputs(weight)


def int8(switch: Switch) -> Kernel:
    """The row for float inputs, whose layers use the operator as *switch* says."""

    def pack(weight: Matrix, form: Form, place: Place) -> Layer:
        assert isinstance(weight, Quantized)  # noqa: S101
        return Int8(weight, switch)

    return Kernel("aten::_weight_int8pack_mm", _why_not_floats, pack, "cpu/int8mm_kernel.cpp")


INT8_INPUTS = Kernel(
    "aten::_int_mm",
    lambda form: why_not_int8_by_row(form, "int8", STATIC),
    _pack_inputs,
    "LinearAlgebra.cpp",
)
