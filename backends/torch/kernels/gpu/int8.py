"""Weights of 8 bits with a scale for each row. Sources: int8mm.cu, `_int_mm_out_cuda` in Blas.cpp.

For float inputs there is `_weight_int8pack_mm`, whose blocks of threads take 16 rows each and read
the weight once for them, without matrix units. More rows are multiplied by the dequantized weight,
on matrix units. For int8 inputs there is `_int_mm`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import (
    STATIC,
    Activations,
    Form,
    Kernel,
    Layer,
    Place,
    why_not_int8_by_row,
)
from qdeploy.backends.torch.kernels.dequantized import dequantize
from qdeploy.backends.torch.kernels.host import input_scale, pad_rows, scales, signed_codes
from qdeploy.backends.torch.kernels.rounding import round_to_int8
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

FEW_ROWS = 16
"""Rows of one block of threads of `_weight_int8pack_mm`."""
FEWEST_ROWS = 17
"""`_int_mm` takes no fewer; they are padded."""
MULTIPLE = 8
"""K and N of `_int_mm`."""


class Int8(Layer):
    """Codes int8 [N, K], scales [N] in the type of activations."""

    def __init__(self, weight: Quantized, form: Form, place: Place) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        self._codes = place(signed_codes(weight))
        self._scales = place(scales(weight, getattr(torch, form.dtype))[:, 0].contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F  # noqa: N812

        if x.shape[0] <= FEW_ROWS:
            return torch.ops.aten._weight_int8pack_mm(x.contiguous(), self._codes, self._scales)
        return F.linear(x, dequantize(self._codes, self._scales.unsqueeze(-1), None))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales)


class Int8Inputs(Layer):
    """Codes int8 [N, K], scales float32 [N]; inputs are rounded to int8.

    That is row by row, or by a scale of the layer's, float32 [1].
    """

    def __init__(self, weight: Quantized, place: Place) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        static = input_scale(weight)
        self._input_scale = None if static is None else place(static)
        self._codes = place(pad_rows(signed_codes(weight), MULTIPLE))
        self._scales = place(scales(weight, torch.float32)[:, 0].contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F  # noqa: N812

        rows = x.shape[0]
        codes, input_scales = round_to_int8(x, self._input_scale)
        if rows < FEWEST_ROWS:
            codes = F.pad(codes, (0, 0, 0, FEWEST_ROWS - rows))
        sums = torch.ops.aten._int_mm(codes, self._codes.t())
        sums = sums.narrow(0, 0, rows).narrow(1, 0, self.rows)
        return (sums * input_scales * self._scales).to(x.dtype)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for t in (self._codes, self._scales, self._input_scale) if t is not None)


def _why_not(form: Form, *activations: Activations) -> str | None:
    if reason := why_not_int8_by_row(form, *activations):
        return reason
    if form.dtype == "float32":
        return "it computes in bfloat16 or float16"
    return None


def _why_not_int8(form: Form) -> str | None:
    return _why_not(form, "none")


def _why_not_int8_inputs(form: Form) -> str | None:
    reason = _why_not(form, "int8", STATIC)
    if reason is None and form.columns % MULTIPLE:
        return f"it takes multiples of {MULTIPLE} columns"
    return reason


def _pack_int8(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int8(weight, form, place)


def _pack_int8_inputs(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int8Inputs(weight, place)


INT8 = Kernel("aten::_weight_int8pack_mm", _why_not_int8, _pack_int8, "int8mm.cu")
INT8_INPUTS = Kernel("aten::_int_mm", _why_not_int8_inputs, _pack_int8_inputs, "Blas.cpp")
