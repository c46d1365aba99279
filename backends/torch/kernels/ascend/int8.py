"""int8 weights, and inputs that are rounded to int8 token by token: `npu_quant_matmul`.

`npu_dynamic_quant` rounds: a token's scale is its largest magnitude divided by 127.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdeploy.backends.torch.kernels.ascend.weight_only import why_not_axes
from qdeploy.backends.torch.kernels.base import (
    Form,
    Kernel,
    Layer,
    Place,
    why_not_int8_by_row,
)
from qdeploy.backends.torch.kernels.host import scales, signed_codes
from qdeploy.quantization.quantized import Quantized

if TYPE_CHECKING:
    from qdeploy.backends.torch.kernels.base import Matrix

    Tensor = Any


class Int8Inputs(Layer):
    """Codes int8 [K, N], scales float32 [N]."""

    def __init__(self, weight: Quantized, place: Place) -> None:
        import torch

        self.rows = weight.codes.shape[0]
        self._codes = place(signed_codes(weight).t().contiguous())
        self._scales = place(scales(weight, torch.float32)[:, 0].contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        codes, token_scales = torch.ops.npu.npu_dynamic_quant(x)
        return torch.ops.npu.npu_quant_matmul(
            codes, self._codes, self._scales, pertoken_scale=token_scales, output_dtype=x.dtype
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self._codes, self._scales)


def why_not_int8_inputs(form: Form) -> str | None:
    """Why int8 products do not take weights of *form*, or None."""
    return why_not_int8_by_row(form, "int8") or why_not_axes(form)


def _pack(weight: Matrix, form: Form, place: Place) -> Layer:
    assert isinstance(weight, Quantized)  # noqa: S101
    return Int8Inputs(weight, place)


INT8_INPUTS = Kernel(
    "npu::npu_quant_matmul",
    why_not_int8_inputs,
    _pack,
    "_op_plugin_docs.py, npu_quant_matmul and npu_dynamic_quant",
)
