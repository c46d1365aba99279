"""8-bit floats, weights with a scale for each row and inputs that are rounded: `_scaled_mm`.

Sources: `_scaled_mm_out_cuda` in ScaledBlas.cpp, RowwiseScaledMM.cu. Weights in blocks of 128 x 128
are dequantized instead: the operator takes them on compute capability 9.0 only, with inputs that
are rounded in parts of 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.base import Form, Kernel, Layer, Place
from qdeploy.backends.torch.kernels.host import pad_rows, scales, signed_codes
from qdeploy.backends.torch.kernels.rounding import round_to_fp8
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any

MULTIPLE = 16
"""K and N; a weight is padded to a multiple of N."""


class Fp8Inputs(Layer):
    """Codes E4M3 [N, K], scales float32 [1, N]."""

    def __init__(self, weight: Quantized, place: Place) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        self._codes = place(pad_rows(signed_codes(weight), MULTIPLE)).view(torch.float8_e4m3fn)
        self._scales = place(pad_rows(scales(weight, torch.float32), MULTIPLE).view(1, -1))

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        codes, row_scales = round_to_fp8(x)
        made = torch.ops.aten._scaled_mm(
            codes, self._codes.t(), row_scales, self._scales, out_dtype=x.dtype
        )
        return made if made.shape[-1] == self.rows else made.narrow(1, 0, self.rows)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales)


def _why_not(form: Form) -> str | None:
    if form.precision.dtype != "fp8" or form.activations != "fp8":
        return "it takes weights and inputs of 8-bit floats"
    if form.group != form.columns:
        return "it takes one scale for each row"
    if form.dtype != "bfloat16":
        return "it gives bfloat16"
    if form.columns % MULTIPLE:
        return f"it takes multiples of {MULTIPLE} columns"
    return None


def _pack(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Fp8Inputs(weight, place)


FP8_INPUTS = Kernel("aten::_scaled_mm", _why_not, _pack, "ScaledBlas.cpp")
